import { dictionary } from '@zxcvbn-ts/language-common'

/** Guessed first by whoever knows what is attacked. */
const PRODUCT_NAMES = ['tasktide', 'task tide', 'task-tide']
/** Words of leaked passwords that are so frequent that a few digits around them do not help. */
const FREQUENT = 10_000
const LEAST_WORD = 4
const MAX_AROUND = 6

/**
 * Why the password is too weak for this account; undefined if it is not. Guessing programs try leaked
 * passwords and the names of account and product, also with digits around them and with look-alike digits in
 * them: `T4sktide2026!`.
 */
export function weakness(
  password: string,
  { username, email }: { username: string; email: string },
): string | undefined {
  const folded = password.toLowerCase()
  const words = wordsOf(password)
  const own = [username, email, ...email.split('@'), ...email.split(/[@.]/), ...PRODUCT_NAMES]
  const names = own.flatMap(wordsOf).filter((word) => word.length >= LEAST_WORD)
  if (names.some((name) => isAround(spelled(folded), name)))
    return 'Do not use your username, your address or the name of this service as the password.'
  const { leaked, frequent } = commonPasswords()
  if (leaked.has(folded) || words.some((word) => frequent.has(word)))
    return 'This password is too common; choose another.'
  return undefined
}

/** Whether it is the name with a few characters around it: a name may itself end with digits. */
const isAround = (password: string, name: string) =>
  password.length - name.length <= MAX_AROUND && password.includes(name)

/** The password itself, without punctuation around it, and without digits around it. */
function wordsOf(text: string): string[] {
  const folded = text.toLowerCase()
  const bare = [
    folded,
    folded.replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, ''),
    folded.replace(/^[^\p{L}]+|[^\p{L}]+$/gu, ''),
  ]
  return bare.filter((word) => folded.length - word.length <= MAX_AROUND).map(spelled)
}

const LOOK_ALIKES: Readonly<Record<string, string>> = {
  '@': 'a',
  4: 'a',
  3: 'e',
  1: 'i',
  '!': 'i',
  l: 'i',
  0: 'o',
  $: 's',
  5: 's',
  7: 't',
}

const spelled = (word: string) =>
  word.replace(/[@431!l0$57]/g, (character) => LOOK_ALIKES[character]!)

let common: { leaked: Set<string>; frequent: Set<string> } | undefined

function commonPasswords() {
  const passwords = dictionary['passwords-common']
  common ??= {
    leaked: new Set(passwords.filter((word) => word.length >= 8)),
    frequent: new Set(
      passwords
        .slice(0, FREQUENT)
        .filter((word) => word.length >= LEAST_WORD && /^\p{L}/u.test(word))
        .map(spelled),
    ),
  }
  return common
}
