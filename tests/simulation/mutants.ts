import { execFile } from 'node:child_process'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A guard, and the change of one line that takes it out of the product. */
export interface Mutant {
  readonly guard: string
  readonly file: string
  readonly find: string
  readonly replace: string
  readonly store?: 'postgres'
  /** On devices that run the SDK, not on models of them. */
  readonly sdk?: true
  /** Takes too many seeds for a test: `npm run sim -- --mutants` has the time. */
  readonly isRare?: true
}

export const mutants: readonly Mutant[] = [
  {
    guard: 'one writer of a user at a time (memory)',
    file: 'tests/support/memory-store.ts',
    find: 'const takeTurn = createTurns()',
    replace: 'const takeTurn = createTurns({ lanes: 1_000 })',
  },
  {
    guard: 'one writer of a user at a time (Postgres)',
    file: 'server/store/postgres.ts',
    find: 'from feeds where user_id = ? for update',
    replace: 'from feeds where user_id = ?',
    store: 'postgres',
  },
  {
    guard: 'a frame must follow on what was heard',
    file: 'protocol/follow.ts',
    find: 'isGap: frame.prev > cursor || !frame.documents',
    replace: 'isGap: !frame.documents',
  },
  {
    guard: 'a pushed edit is taken once',
    file: 'server/sync/judge.ts',
    find: 'if (current && isTaken(row, current)) return { state: current }',
    replace: '',
  },
  {
    guard: 'a repeated creation does not undo a deletion',
    file: 'server/sync/judge.ts',
    find: 'return born !== current.document.created_at',
    replace: 'return true',
  },
  {
    guard: 'nor does that of a device whose clock is ahead',
    file: 'server/sync/judge.ts',
    find: 'if (born === undefined || current.taken?.includes(birthMark(born))) return false',
    replace: 'if (born === undefined) return false',
  },
  {
    guard: 'a client that has seen what a failover lost is told',
    file: 'server/sync/cursors.ts',
    find: '(replica?.seen ?? []).every(isThere)',
    replace: 'true',
  },
  {
    guard: 'a cursor ahead of the feed is refused',
    file: 'server/sync/cursors.ts',
    find: 'isStart(one) || one.lwt <= endOf(one, known)',
    replace: 'isStart(one) || endOf(one, known) >= 0',
  },
  {
    guard: 'edits that a failover kept from each other are merged without a base',
    file: 'server/sync/replicate.ts',
    find: 'changed_since: changes.filter(({ seq }) => seq > common).length',
    replace: 'changed_since: 0',
  },
  {
    guard: 'a document may come before the one it refers to',
    file: 'server/sync/references.ts',
    find: 'ids.filter((id) => !found.has(id)),',
    replace: '[],',
  },
  {
    guard: 'what loses is journaled',
    file: 'server/sync/journal.ts',
    find: 'if (real.length === 0) return',
    replace: 'if (real.length >= 0) return',
  },
  {
    guard: 'what is refused of a client that does not keep it is journaled',
    file: 'server/sync/replicate.ts',
    find: 'if (!keepsRejected) await keepRefusals(',
    replace: 'if (resource.readOnly) await keepRefusals(',
  },
  {
    guard: 'a row that is not valid stops no other',
    file: 'server/sync/replicate.ts',
    find: 'const { rows, refusals } = withoutIncomplete(',
    replace: `if (reading.refusals.length > 0) throw new Error('not valid')
    const { rows, refusals } = withoutIncomplete(`,
  },
  {
    guard: 'a change is later than the one before, whatever the clock',
    file: 'protocol/settle.ts',
    find: 'Date.parse(updated_at) + 1',
    replace: 'Date.parse(updated_at)',
  },
  {
    guard: 'the SDK pulls after a hole in the frames',
    file: 'client-sdk/sync/replication.ts',
    find: 'if (isGap) this.look()',
    replace: '',
    sdk: true,
  },
  {
    guard: 'the SDK keeps a page before it moves past it',
    file: 'client-sdk/sync/replica.ts',
    find: 'if (isWanted()) await this.lasting(() => this.states.keep(documents, cursor))',
    replace: `if (isWanted())
          await this.states.keep(documents, cursor).catch(() => {
            this.states.cursor = cursor
          })`,
    sdk: true,
  },
  {
    guard: 'the SDK records what has come of a push, however often that fails',
    file: 'client-sdk/sync/replica.ts',
    find: 'await this.turns.take(() => this.lasting(() => this.record(sent, pushed)))',
    replace: `await this.turns.take(() => this.record(sent, pushed)).catch(() => {
        for (const { row, edit } of sent) this.markSent(idOf(row), edit)
      })`,
    sdk: true,
    isRare: true,
  },
  {
    guard: 'the SDK finds at the start what was left unsent',
    file: 'client-sdk/sync/replica.ts',
    find: 'this.edits.mark(unsent.filter((id) => !this.edits.has(id)))',
    replace: 'unsent.filter((id) => !this.edits.has(id))',
    sdk: true,
  },
  {
    guard: 'the SDK notices a write that failed and was kept all the same',
    file: 'client-sdk/sync/writes.ts',
    find: 'this.wrote(name, ids)',
    replace: 'if (!rows.length) this.wrote(name, ids)',
    sdk: true,
    isRare: true,
  },
  {
    guard: 'the SDK keeps nothing of a document while its push is not recorded',
    file: 'client-sdk/sync/replica.ts',
    find: 'const isSending = () => documents.some(({ id }) => this.sending$.value.has(id))',
    replace: 'const isSending = () => documents.length < 0',
    sdk: true,
  },
  {
    guard: 'the SDK calls nothing synced that it is still keeping',
    file: 'client-sdk/sync/replication.ts',
    find: 'map((all) => all.every(Boolean)),',
    replace: 'map(() => true),',
    sdk: true,
  },
  {
    guard: 'the SDK asks before it deletes what is unsent',
    file: 'client-sdk/client.ts',
    find: 'if (keepData === undefined) await refuseUnsent(copy)',
    replace: '',
    sdk: true,
  },
  {
    guard: 'the SDK lets nobody but the server reject a row',
    file: 'client-sdk/sync/push.ts',
    find: 'const isRowsFault = isJudgement(error)',
    replace:
      'const isRowsFault = error instanceof ClientError && [400, 413].includes(error.status ?? 0)',
    sdk: true,
  },
]

/** The source without the guard. @throws when that line is not there just once, as after a change */
export function mutated({ guard, file, find, replace }: Mutant): string {
  const parts = readFileSync(path.join(root, file), 'utf8').split(find)
  if (parts.length !== 2)
    throw new Error(`${guard}: ${file} has this line ${parts.length - 1} times: ${find}`)
  return parts.join(replace)
}

/**
 * Runs the simulation on copies of the product that lack one guard each.
 *
 * @returns whether all of them were found out
 */
export async function findMutants(): Promise<boolean> {
  let missed = 0
  for (const mutant of mutants) {
    const found = await findMutant(mutant)
    if (!found) missed++
    console.log(`${found ? 'found ' : 'MISSED'} ${mutant.guard}${found ? `: ${found}` : ''}`)
  }
  return missed === 0
}

/** @returns how it was found out, in words; undefined when it was not */
export async function findMutant(mutant: Mutant): Promise<string | undefined> {
  // Inside the project, where the packages are found.
  const copy = path.join(root, '.mutants', mutant.guard.replace(/\W+/g, '-'))
  rmSync(copy, { recursive: true, force: true })
  const parts = [
    'protocol',
    'server',
    'migrations',
    'client-sdk',
    'tests/client-sdk',
    'tests/simulation',
    'tests/support',
  ]
  for (const part of [...parts, 'package.json'])
    cpSync(path.join(root, part), path.join(copy, part), { recursive: true })
  writeFileSync(path.join(copy, mutant.file), mutated(mutant))
  const store = mutant.store ?? 'memory'
  const seeds = store === 'postgres' ? '120' : '400'
  const devices = mutant.sdk ? 'sdk' : 'models'
  const told = await run(copy, [
    '--seeds',
    seeds,
    '--store',
    store,
    '--devices',
    devices,
    '--may-fail',
  ])
  rmSync(copy, { recursive: true, force: true })
  const [, seed, violation] = /\nSeed (\d+) on \w+ breaks a promise:\n- (.*)\n/.exec(told) ?? []
  return seed && `seed ${seed}, ${violation!.slice(0, 150)}`
}

function run(copy: string, options: readonly string[]): Promise<string> {
  const main = path.join(copy, 'tests/simulation/main.ts')
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--import', 'tsx', main, ...options],
      { cwd: root, maxBuffer: 64 * 1024 * 1024 },
      (_error, stdout) => resolve(stdout),
    )
  })
}
