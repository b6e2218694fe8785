/** In the order in which they are tried: most browsers name those that they descend from, too. */
const PROGRAMS: readonly (readonly [RegExp, string])[] = [
  [/\bTasktide\b/i, 'Tasktide SDK'],
  [/\bElectron\//, 'Desktop app'],
  [/\bEdg(e|A|iOS)?\//, 'Edge'],
  [/\b(OPR|Opera)\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\bVivaldi\//, 'Vivaldi'],
  [/\b(Firefox|FxiOS)\//, 'Firefox'],
  [/\b(HeadlessChrome|Chrome|Chromium|CriOS)\//, 'Chrome'],
  [/\bVersion\/[\d.]+ .*\bSafari\//, 'Safari'],
  [/^curl\//, 'curl'],
  [/^(node|undici)\b/, 'Node.js'],
  [/^(python-requests|python-httpx|Python-urllib)\//i, 'Python'],
  [/^PostmanRuntime\//, 'Postman'],
  [/\bokhttp\//, 'Android app'],
  [/\bCFNetwork\//, 'Apple app'],
  [/^Mozilla\//, 'Browser'],
]

const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/\biPad\b/, 'iPad'],
  [/\biPhone\b/, 'iPhone'],
  [/\bAndroid\b/, 'Android'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bWindows\b/, 'Windows'],
  [/\b(Macintosh|Mac OS X|Darwin)\b/, 'macOS'],
  [/\bLinux\b/, 'Linux'],
]

const MAX_CHARACTERS = 40

/** A device in a few words, from what it says of itself: `Firefox on Linux`. */
export function deviceOf(userAgent: string): string {
  const program = nameIn(PROGRAMS, userAgent) ?? firstToken(userAgent)
  const system = nameIn(SYSTEMS, userAgent)
  return system ? `${program} on ${system}` : program
}

const nameIn = (table: typeof PROGRAMS, userAgent: string) =>
  table.find(([pattern]) => pattern.test(userAgent))?.[1]

/** `acme-sync` of `acme-sync/2.1 (…)`. */
function firstToken(userAgent: string): string {
  const token = /[^\s/;()]+/.exec(userAgent)?.[0] ?? ''
  return token.slice(0, MAX_CHARACTERS) || 'Unknown device'
}
