import bowser from 'bowser'

const MAX_CHARACTERS = 40

/** A short description of a user agent: `Firefox on Linux`. */
export function deviceOf(userAgent: string): string {
  // bowser takes no empty one; what tells anything stands at the beginning.
  const { browser, os, platform } = bowser.parse(userAgent.slice(0, 500) || '-')
  const program = browser.name || firstToken(userAgent)
  const system = platform.vendor === 'Apple' && platform.model ? platform.model : os.name
  return system ? `${program} on ${system}` : program
}

/** `acme-sync` of `acme-sync/2.1 (…)`. */
function firstToken(userAgent: string): string {
  const token = /[^\s/;()]+/.exec(userAgent)?.[0] ?? ''
  return token.slice(0, MAX_CHARACTERS) || 'Unknown device'
}
