import { expect, test } from 'vitest'
import { csvRecord } from '../../../server/http/accounts/csv.ts'

test.each<[string | boolean | null, string]>([
  ['plain', 'plain'],
  ['', ''],
  [null, ''],
  [true, 'true'],
  ['a,b', '"a,b"'],
  ['say "hi"', '"say ""hi"""'],
  ['two\nlines', '"two\nlines"'],
  ['a\rb', '"a\rb"'],
  ['=1+1', "'=1+1"],
  ['+1', "'+1"],
  ['-1', "'-1"],
  ['@SUM(1)', "'@SUM(1)"],
  ['\tx', `"'\tx"`],
  ['\t=1', `"'\t'=1"`],
  ['\r=1', `"'\r'=1"`],
  [' =1', "' =1"],
  ['\u00a0=1', "'\u00a0=1"],
  ['\ufeff=1', "'\ufeff=1"],
  ['＝1', "'＝1"],
  ['＋1', "'＋1"],
  ['－1', "'－1"],
  ['＠SUM(1)', "'＠SUM(1)"],
  ['﹦1', "'﹦1"],
  ['"=1"', `"'""=1"""`],
  ['a;b', '"a;b"'],
  ['a\tb', '"a\tb"'],
  ['a|b', '"a|b"'],
  ['a;=1;-2; ＠b', `"a;'=1;'-2;' ＠b"`],
  ['a;"=1"', `"a;'""=1"""`],
  ['a; " "=1', `"a;' "" ""=1"`],
  ['a\t"=1"', `"a\t'""=1"""`],
  ['a\n"=1"', `"a\n'""=1"""`],
  ['a|=1', `"a|'=1"`],
  ['a؛=1', `"a؛'=1"`],
  ['a\n+1\r\n=2\t@b', `"a\n'+1\r\n'=2\t'@b"`],
  ['a;1=1\n2-1', '"a;1=1\n2-1"'],
  ['=1,"2"', `"'=1,""2"""`],
  ['1=1', '1=1'],
  ['Milk, -2 °C', '"Milk, -2 °C"'],
  ['été 🚢', 'été 🚢'],
])('writes %j as %j', (value, field) => {
  expect(csvRecord([value, 'x'])).toBe(`${field},x\r\n`)
})

test('no reader finds a formula, whatever it separates at and whatever it makes of quotes', () => {
  const texts = wordsOf(['=', ';', '\t', '"', ' ', 'a', '\n'], 5)
  for (const text of texts) {
    const record = csvRecord(['id', text, 'x'])
    const cells = [
      ...cellsOf(record, ','),
      ...[';', '\t', '|'].flatMap((separator) => [
        ...cellsOf(record, separator),
        ...record.split(new RegExp(`[${separator}\r\n]`)),
      ]),
    ]
    const formulas = cells.filter((cell) => /^[\s"]*=/.test(cell))
    if (formulas.length > 0) expect({ text, record, formulas }).toEqual({ text, record })
  }
})

test('a long text costs no more than its length', () => {
  const times = [50_000, 200_000].map((length) => {
    const text = `${'\n '.repeat(length)};${' '.repeat(length)};${'"'.repeat(length)}`
    const begun = performance.now()
    csvRecord([text])
    return performance.now() - begun
  })
  // Squared, it would be sixteen times as much, and minutes.
  expect(times[1]).toBeLessThan(2_000)
})

/** All texts of these letters, up to a length. */
function wordsOf(letters: readonly string[], length: number): string[] {
  if (length === 0) return ['']
  const shorter = wordsOf(letters, length - 1)
  const longest = shorter.filter((word) => word.length === length - 1)
  return [...shorter, ...longest.flatMap((word) => letters.map((letter) => word + letter))]
}

/** A lenient reader: a cell that begins with a quote ends with one, and what follows up to the separator belongs to it. */
function cellsOf(text: string, separator: string): string[] {
  const cells: string[] = []
  for (let at = 0; at < text.length; at++) {
    let cell = ''
    if (text[at] === '"') {
      for (at++; at < text.length && (text[at] !== '"' || text[at + 1] === '"'); at++) {
        if (text[at] === '"') at++
        cell += text[at]
      }
      at++
    }
    for (; at < text.length && !`${separator}\r\n`.includes(text[at]!); at++) cell += text[at]
    cells.push(cell)
  }
  return cells
}
