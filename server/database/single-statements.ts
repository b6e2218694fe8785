import type { Knex } from 'knex'

/**
 * Sends the statements of a migration one by one. Citus passes a change of a distributed table on to the other nodes as
 * the whole text in which it came, and these take one statement at a time.
 */
export function oneByOne(source: Knex.MigrationSource<string>): Knex.MigrationSource<string> {
  return {
    ...source,
    async getMigration(name) {
      const { up, down, ...others } = await source.getMigration(name)
      return {
        ...others,
        up: (knex) => up(sendingOneByOne(knex)),
        ...(down && { down: (knex: Knex) => down(sendingOneByOne(knex)) }),
      }
    },
  }
}

function sendingOneByOne(knex: Knex): Knex {
  return new Proxy(knex, {
    get: (target, name, receiver) =>
      name === 'raw'
        ? async (sql: string, ...bindings: [Knex.RawBinding]) => {
            // With values, it is one statement in any case.
            if (bindings.length > 0) return knex.raw(sql, ...bindings)
            let answer: unknown
            for (const statement of statementsIn(sql)) answer = await knex.raw(statement)
            return answer
          }
        : Reflect.get(target, name, receiver),
  })
}

/** Comments, texts, names in quotes and bodies of functions, in which a semicolon ends nothing. */
const ATOMS =
  /--[^\n]*|\/\*[\s\S]*?\*\/|\bE'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$)[\s\S]*?\1|;/gi

/** The statements of a text of SQL, without the semicolons between them. Not for bodies that are `begin atomic`. */
export function statementsIn(sql: string): string[] {
  const statements: string[] = []
  let start = 0
  let hasContent = false
  let end = 0
  const take = (to: number) => {
    hasContent ||= sql.slice(end, to).trim() !== ''
    if (hasContent) statements.push(sql.slice(start, to).trim())
  }
  for (const { 0: atom, index } of sql.matchAll(ATOMS)) {
    if (atom === ';') {
      take(index)
      start = index + 1
      hasContent = false
    } else {
      const isComment = atom.startsWith('--') || atom.startsWith('/*')
      hasContent ||= !isComment || sql.slice(end, index).trim() !== ''
    }
    end = index + atom.length
  }
  take(sql.length)
  return statements
}
