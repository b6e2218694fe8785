import { describe, expect, test } from 'vitest'
import { createJsonScan } from '../../../server/http/json-scan.ts'

const DEPTH = 20
const nested = (levels: number, open: string, close: string, inside = '') =>
  open.repeat(levels) + inside + close.repeat(levels)

/** What is left of a text that arrives in pieces of this size. */
function scanned(text: string, size = Number.POSITIVE_INFINITY) {
  const scan = createJsonScan(100_000)
  const bytes = Buffer.from(text)
  const kept: Buffer[] = []
  for (let i = 0; i < bytes.length; i += size) kept.push(...scan.next(bytes.subarray(i, i + size)))
  return { text: Buffer.concat(kept).toString(), values: scan.values() }
}

describe('the scan of a JSON text', () => {
  test.each([
    ['an honest row', '[{"newDocumentState":{"id":"x","labels":["a","b"],"_deleted":false}}]'],
    ['brackets and commas in texts', '{"a":"[[[{{{,,,","b]":"}"}'],
    ['quotes and backslashes in texts', String.raw`{"a":"\"[\\","b":"\\\\\"{","c":["\\"]}`],
    ['letters of several bytes', '{"a":"Łukasz 🦀 [","b":["é"]}'],
    ['as deep as is allowed', nested(DEPTH, '[', ']', '{}'.slice(2))],
    ['no JSON at all', ']]]}}} "[[['],
  ])('keeps %s, however it is cut into pieces', (_, text) => {
    for (const size of [1, 2, 3, 7, 1000]) expect(scanned(text, size).text).toBe(text)
  })

  test.each([
    ['lists', nested(5_000, '[', ']')],
    ['objects', nested(5_000, '{"a":', '}', '1')],
    ['both, with brackets in texts', nested(3_000, '[{"]\\"}":[', ']}]', '"["')],
  ])('empties what is deeper: %s, and nothing beside it', (_, deep) => {
    for (const size of [1, 3, 1000]) {
      const { text } = scanned(`{"before":[1],"deep":${deep},"after":{"x":[2]}}`, size)
      const { before, deep: left, after } = JSON.parse(text)
      expect([before, after]).toEqual([[1], { x: [2] }])
      expect(levelsOf(left)).toBe(DEPTH)
    }
  })

  test('counts values and names, but not what is in texts', () => {
    expect(scanned('[1,{"a":2,"b":[]},"x,y,[z]"]', 4).values).toBe(7)
    expect(scanned(String.raw`["\",[",2]`, 1).values).toBe(3)
  })

  test('refuses more than 100,000 values, as soon as they have come', () => {
    const scan = createJsonScan(100_000)
    const chunk = Buffer.from('{},'.repeat(15_000))
    expect(() => {
      for (let i = 0; i < 3; i++) scan.next(chunk)
    }).not.toThrow()
    expect(() => scan.next(chunk)).toThrow(expect.objectContaining({ code: 'too_large' }))
  })

  test('refuses an element of a list that has more than 10,000, without what is too deep', () => {
    const names = (count: number) => `{${Array.from({ length: count }, (_, i) => `"n${i}":0`)}}`
    const deep = nested(DEPTH, '[', ']', nested(20_000, '[', ']'))
    for (const size of [1_000, 100_000]) {
      const passes = `[${[names(9_000), names(9_000), deep, names(9_000)]}]`
      expect(scanned(passes, size).values).toBeGreaterThan(40_000)
      expect(scanned(names(20_000), size).text).toBe(names(20_000))
      expect(() => scanned(`[1,${names(10_001)},1]`, size)).toThrow(/more than 10000 values/)
    }
  })
})

function levelsOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Math.max(0, ...Object.values(value).map(levelsOf))
}
