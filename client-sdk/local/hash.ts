/**
 * The hash for RxDB's internal record names; not for secrets. RxDB's default is SHA-256 with
 * `crypto.subtle`, which React Native and pages without HTTPS lack. This is FNV-1a, twice.
 */
export async function hash(input: string): Promise<string> {
  return [0x811c9dc5, 0x01000193].map((basis) => fnv1a(input, basis)).join('')
}

function fnv1a(input: string, basis: number): string {
  let hash = basis
  for (let i = 0; i < input.length; i++) hash = Math.imul(hash ^ input.charCodeAt(i), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}
