/** Whoever has one of these names could speak for the operator or the product. */
const RESERVED = new Set(
  `abuse account accounts admin administrator administration anonymous api billing bot contact help helpdesk
  hostmaster info legal mail mailerdaemon moderator moderators noreply nobody null official operator owner
  postmaster privacy root sales security service staff status support supportteam sysadmin system tasktide
  tasktideadmin tasktidesupport tasktideteam team undefined webmaster www`.split(/\s+/),
)

/** Scripts that are written together (Unicode, UTS 39: highly restrictive). All others stand alone. */
const TOGETHER = [
  'Latin Han Hiragana Katakana',
  'Latin Han Bopomofo',
  'Latin Han Hangul',
  ...`Arabic Armenian Bengali Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Hebrew Kannada
  Khmer Lao Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Thaana Thai Tibetan Tifinagh`.split(
    /\s+/,
  ),
].map((scripts) => {
  const properties = scripts.split(' ').map((script) => `\\p{scx=${script}}`)
  return new RegExp(`^[${properties.join('')}\\p{Script=Common}\\p{Script=Inherited}]*$`, 'u')
})

/** Letters that look like Latin ones, in lower case. */
const LATIN: Readonly<Record<string, string>> = {
  ...{ а: 'a', с: 'c', ԁ: 'd', е: 'e', һ: 'h', і: 'i', ј: 'j', ӏ: 'l', о: 'o', р: 'p' },
  ...{ ԛ: 'q', ѕ: 's', ѵ: 'v', ԝ: 'w', х: 'x', у: 'y' },
}
const GREEK: Readonly<Record<string, string>> = {
  α: 'a',
  ι: 'i',
  κ: 'k',
  ν: 'v',
  ο: 'o',
  ρ: 'p',
  υ: 'u',
}
const reversed = (letters: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(letters).map(([other, latin]) => [latin, other]))
const CYRILLIC = reversed(LATIN)
const LATIN_TO_GREEK = reversed(GREEK)
const DIGITS: Readonly<Record<string, string>> = { 0: 'o', 1: 'i', 3: 'e', 4: 'a', 5: 's', l: 'i' }

const asDigitsLook = (name: string) =>
  [...name].map((character) => DIGITS[character] ?? character).join('')
const RESERVED_LOOKS = new Set([...RESERVED].map(asDigitsLook))

/** Why nobody may choose this username; undefined if somebody may. Sign-in accepts every name. */
export function usernameFault(username: string): string | undefined {
  if (!TOGETHER.some((scripts) => scripts.test(username)))
    return 'Use letters of one script: others look the same and are not.'
  const plain = spellings(username).map((name) => asDigitsLook(name.replace(/[._+-]/g, '')))
  if (plain.some((name) => RESERVED_LOOKS.has(name)))
    return 'This username is reserved; choose another.'
  return undefined
}

/** The names in other scripts that look like this one. */
export function lookAlikesOf(username: string): string[] {
  const own = username.toLowerCase()
  return spellings(username).filter((name) => name !== own)
}

/** The name, and as it would be read in another script if each of its letters has a look-alike there. */
function spellings(username: string): string[] {
  const own = username.toLowerCase()
  const latin = replaced(own, { ...LATIN, ...GREEK }) ?? own
  const read = [latin, replaced(latin, CYRILLIC), replaced(latin, LATIN_TO_GREEK)]
  return [...new Set([own, ...read.filter((name) => name !== undefined)])]
}

function replaced(name: string, letters: Readonly<Record<string, string>>): string | undefined {
  const others = [...name].map((one) => (/\p{L}/u.test(one) ? letters[one] : one))
  return others.includes(undefined) ? undefined : others.join('')
}
