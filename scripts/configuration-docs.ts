/**
 * `npm run docs:config`: writes what is said of the environment in docs/operations.md and
 * .env.example anew, from the schema that reads it.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { environment } from '../server/runtime/config.ts'

const WIDTH = 100
const TABLE = /(?<=<!-- made by npm run docs:config -->\n\n)[\s\S]*?(?=\n\n<!-- \/made -->)/
const HEAD = `# Copy what you need into the environment (nothing reads .env by itself; with a copy of this file:
# node --env-file=.env scripts/start.mjs). Empty counts as unset; without any of it, development works.
# Made by npm run docs:config.
`

/** What the files should be, by path from the top folder, and what they are. */
export function configurationDocs() {
  const [operations, example] = ['docs/operations.md', '.env.example'].map((file) => ({
    file,
    is: readFileSync(place(file), 'utf8'),
  })) as [Doc, Doc]
  return [
    { ...operations, shouldBe: operations.is.replace(TABLE, () => configurationTable()) },
    { ...example, shouldBe: environmentExample() },
  ]
}

interface Doc {
  file: string
  is: string
}

interface Variable {
  name: string
  /** As it would stand in the environment; empty when there is none. */
  byDefault: string
  meaning: string
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const { file, shouldBe } of configurationDocs()) writeFileSync(place(file), shouldBe)

function configurationTable(): string {
  const rows = variables().map(({ name, byDefault, meaning }) => {
    const value = byDefault && `\`${byDefault}\``
    return `| \`${name}\` | ${value} | ${meaning} |`
  })
  return ['| variable | default | meaning |', '|---|---|---|', ...rows].join('\n')
}

function environmentExample(): string {
  const entries = variables().map(({ name, byDefault, meaning }) => {
    const comment = wrapped(meaning.replaceAll('`', '')).map((line) => `# ${line}`)
    return [...comment, `${name}=${byDefault}`].join('\n')
  })
  return `${[HEAD.trimEnd(), ...entries].join('\n\n')}\n`
}

function variables(): Variable[] {
  return Object.entries(environment.shape).map(([name, schema]) => {
    if (!schema.description) throw new Error(`server/runtime/config.ts does not describe ${name}`)
    const { data } = schema.safeParse(undefined)
    return { name, byDefault: String(data ?? ''), meaning: schema.description }
  })
}

function wrapped(text: string): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)} ${word}`
    if (lines.length > 0 && longer.length <= WIDTH - 2) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines
}

function place(file: string): URL {
  return new URL(`../${file}`, import.meta.url)
}
