import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'

// The packages of this folder are not there when all is type-checked.
const load = createRequire(import.meta.url)
const { RE2JS } = load('re2js')
const { RRegex } = load('rregex')

let server: TestServer

beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

/** re2js has the syntax of Go, rregex is the crate `regex`. */
const COMPILERS: [string, (pattern: string) => unknown][] = [
  ['Go', (pattern) => RE2JS.compile(pattern)],
  ['Rust', (pattern) => new RRegex(pattern)],
  ['JavaScript', (pattern) => new RegExp(pattern)],
]

describe.each(COMPILERS)('%s', (_language, compile) => {
  test.each(['/api/schema/', '/api/asyncapi/'])('compiles every pattern in %s', async (path) => {
    const patterns = patternsIn((await server.call('GET', path)).body)
    expect(patterns.length).toBeGreaterThan(3)
    for (const pattern of patterns) expect(() => compile(pattern), pattern).not.toThrow()
  })
})

test.each(['(?!a)b', '(?<=a)b', '(a)\\1'])('%s compiles in JavaScript only', (pattern) => {
  const [go, rust, javaScript] = COMPILERS.map(([, compile]) => compile)
  expect(() => javaScript!(pattern)).not.toThrow()
  expect(() => go!(pattern)).toThrow()
  expect(() => rust!(pattern)).toThrow()
})

test.each(['/api/schema/', '/api/asyncapi/'])(
  'no pattern in %s needs tables of Unicode',
  async (path) => {
    const { body } = await server.call('GET', path)
    for (const pattern of patternsIn(body)) expect(pattern).not.toMatch(/\\[pPu]/)
  },
)

/** The values of the keyword, and not properties of that name. */
function patternsIn(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return []
  const own = 'pattern' in node && typeof node.pattern === 'string' ? [node.pattern] : []
  return [...own, ...Object.values(node).flatMap(patternsIn)]
}
