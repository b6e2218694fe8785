/**
 * The hosts of a database URL, each with a URL of its own. libpq allows several, in the order in which
 * they are tried: `postgres://user:password@one:5432,two:5432/database`.
 */
export function hostUrls(url: string): string[] {
  const [, before = '', hosts = '', after = ''] =
    /^(\w+:\/\/(?:[^/?]*@)?)([^/?]*)(.*)$/s.exec(url) ?? []
  if (!hosts.includes(',')) return [url]
  return hosts.split(',').map((host) => before + host + after)
}
