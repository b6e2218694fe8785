import type { Resource } from './resource.ts'

/**
 * Search as people type: on the server in SQL (`folded` in the migrations) and here in JavaScript, with the same
 * result. `tests/server/store/search.test.ts` compares the two.
 */

/** Accents of Latin, Greek and Cyrillic, points of Hebrew and Arabic, and what nobody sees. */
const MARKS =
  // biome-ignore lint/suspicious/noMisleadingCharacterClass: it is a set of marks
  /[\ufe00-\ufe0f\ufe20-\ufe2f\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u061c\u200b-\u200f\u2060\ufeff\u00ad\u0640]/g

/** Letters without a decomposition, quotes and dashes, and spaces, by what is typed for them. */
const TYPED: Readonly<Record<string, string>> = {
  ss: 'ß',
  ae: 'æ',
  oe: 'œ',
  th: 'þ',
  i: 'ı',
  o: 'ø',
  l: 'ł',
  d: 'đð',
  h: 'ħ',
  t: 'ŧ',
  σ: 'ς',
  "'": '\u2018\u2019\u201a\u201b\u2032\u02bc',
  '"': '\u201c\u201d\u201e\u201f\u00ab\u00bb',
  '-': '\u2010\u2011\u2012\u2013\u2014\u2015\u2212',
  ' ': '\t\n\r\u0085\u1680\u2028\u2029',
}
const BY_LETTER = new Map(
  Object.entries(TYPED).flatMap(([typed, letters]) => [...letters].map((one) => [one, typed])),
)
const LETTERS = new RegExp(`[${[...BY_LETTER.keys()].join('')}]`, 'g')
const ASCII = /^[\0-\x7f]*$/

/** A text without case, accents, widths and typography: what one types finds what another has written. */
export function foldText(text: string): string {
  const lower = ASCII.test(text)
    ? text.toLowerCase()
    : text.normalize('NFKD').toLowerCase().replace(MARKS, '')
  const typed = lower.replace(LETTERS, (letter) => BY_LETTER.get(letter)!)
  return ASCII.test(typed) ? typed : typed.normalize('NFC')
}

/**
 * The words of a search, and what is in double quotes as one, folded. Until somebody has typed the second quote, the
 * end of the search stands for it.
 */
export function searchTerms(search: string): string[] {
  const found = foldText(search).matchAll(/(?:^| )"([^"]*)(?:"(?= |$)|$)|[^ ]+/g)
  const terms = [...found].map(([word, phrase]) => (phrase ?? word).trim())
  return [...new Set(terms.filter((term) => term !== ''))]
}

/**
 * How many of these terms the first of the searchable fields has, or undefined if one is in none of them.
 *
 * @param terms of `searchTerms`
 */
export function searchRelevance(
  { searchable }: Pick<Resource, 'searchable'>,
  document: Readonly<Record<string, unknown>>,
  terms: readonly string[],
): number | undefined {
  const [first = '', ...others] = searchable.map((name) => foldText(String(document[name] ?? '')))
  const inFirst = terms.filter((term) => first.includes(term))
  const isFound = (term: string) =>
    inFirst.includes(term) || others.some((text) => text.includes(term))
  return terms.every(isFound) ? inFirst.length : undefined
}
