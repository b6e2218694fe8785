import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '../..')

/** Licences that ask for no more than their own text. */
const PERMISSIVE = new Set([
  'MIT',
  'MIT-0',
  'Apache-2.0',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'CC0-1.0',
  'Unlicense',
  'Python-2.0',
])

/** Needed only to build and test: nothing of theirs reaches users. */
const FOR_DEVELOPMENT = new Set(['MPL-2.0', 'BlueOak-1.0.0'])

/** Packages that do not name their licence, and what their repository says. */
const UNNAMED: Record<string, string> = { 'xmlhttprequest-ssl': 'MIT' }

test.each([
  ['production', ['--omit', 'dev'], PERMISSIVE],
  ['development', [], new Set([...PERMISSIVE, ...FOR_DEVELOPMENT])],
])('the packages for %s have permissive licences, as `npm run sbom` lists them', (_, omit, may) => {
  const components = bill(omit)
  expect(components.length).toBeGreaterThan(50)
  const others = components.filter((component) => !isAmong(may, licencesOf(component)))
  expect(others.map(({ name, licenses }) => [name, licenses])).toEqual([])
})

interface Component {
  name: string
  licenses?: { expression?: string; license?: { id?: string; name?: string } }[]
}

/** The software bill of materials (CycloneDX), from the lock file alone. */
function bill(omit: string[]): Component[] {
  const command = ['run', '--silent', 'sbom', '--', ...omit]
  const json = execFileSync('npm', command, { cwd: root, maxBuffer: 64 * 1024 * 1024 })
  return JSON.parse(json.toString()).components
}

/** The licences of which one may be chosen. */
function licencesOf({ name, licenses = [] }: Component): string[] {
  const named = licenses.map(
    ({ expression, license }) => expression ?? license?.id ?? license?.name,
  )
  return (named[0] ?? UNNAMED[name] ?? '').replaceAll(/[()]/g, '').split(' OR ')
}

const isAmong = (may: ReadonlySet<string>, licences: string[]) =>
  licences.some((licence) => may.has(licence))
