import { execFile } from 'node:child_process'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundleProgram } from '../support/bundled-server.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** A guard, and the change of one line that removes it. */
export interface Mutant {
  readonly guard: string
  readonly file: string
  readonly find: string
  readonly replace: string
  readonly store?: 'postgres'
  /** One that has revealed it, at which the search begins. Any later one will do. */
  readonly seed?: number
  /** Runs with the SDK instead of models of devices. */
  readonly sdk?: true
  /** Needs too many seeds for a test; only `npm run sim -- --mutants` runs it. */
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
    file: 'server/store/transaction.ts',
    find: 'from feeds f where f.user_id = ? for update',
    replace: 'from feeds f where f.user_id = ?',
    store: 'postgres',
    seed: 60,
  },
  {
    guard: 'what a push without a lock has read still holds when it writes (Postgres)',
    file: 'server/store/statements.ts',
    find: 'where read.seq <> coalesce(',
    replace: 'where read.seq < 0 and 0 <> coalesce(',
    store: 'postgres',
    seed: 4,
  },
  {
    guard: 'a frame must continue from the last one',
    file: 'protocol/follow.ts',
    find: 'isGap: frame.prev > cursor || !frame.documents',
    replace: 'isGap: !frame.documents',
  },
  {
    guard: 'a pushed edit is accepted once',
    file: 'server/sync/judge.ts',
    find: 'if (current && isTaken(row, current)) return { state: current }',
    replace: '',
  },
  {
    guard: 'a repeated creation does not undo a deletion',
    file: 'server/sync/judge.ts',
    find: 'return born !== current.document.created_at',
    replace: 'return true',
    seed: 26,
  },
  {
    guard: 'nor does one by a device whose clock is ahead',
    file: 'server/sync/judge.ts',
    find: 'if (born === undefined || current.taken?.includes(birthMark(born))) return false',
    replace: 'if (born === undefined) return false',
    seed: 28,
  },
  {
    guard: 'a client that has seen what a failover lost is told',
    file: 'server/sync/cursors.ts',
    find: 'isIntact([cursor, ...seen], known)',
    replace: 'isIntact([cursor], known)',
    seed: 94,
  },
  {
    guard: 'a cursor ahead of the feed is refused',
    file: 'server/sync/cursors.ts',
    find: 'isStart(one) || one.lwt <= endOf(epochOf(one), feed)',
    replace: 'isStart(one) || endOf(epochOf(one), feed) >= 0',
  },
  {
    guard: 'edits that a failover kept from each other are merged without a base',
    file: 'server/sync/replicate.ts',
    find: 'changed_since: changes.filter(({ seq }) => seq > common).length',
    replace: 'changed_since: 0',
    seed: 5,
  },
  {
    guard: 'a client that has missed purged tombstones is told',
    file: 'server/sync/cursors.ts',
    find: 'begunAt(one)?.seq ?? 0) >= horizon',
    replace: 'begunAt(one)?.seq ?? 0) >= 0',
    seed: 21,
  },
  {
    guard: 'an edit does not bring a purged document back',
    file: 'server/sync/judge.ts',
    find: 'if (!current && purged && row.assumed',
    replace: 'if (!current && !purged && row.assumed',
    seed: 11,
  },
  {
    guard: 'the SDK deletes what was deleted and purged',
    file: 'client-sdk/sync/document-states.ts',
    find: "if (missing === 'deleted') await",
    replace: 'if (!missing) await',
    sdk: true,
    seed: 27,
  },
  {
    guard: 'a document may come before the one it refers to',
    file: 'server/sync/references.ts',
    find: 'new Set(sent.filter((id) => !found.has(id)))',
    replace: 'new Set()',
  },
  {
    guard: 'lost values are journaled',
    file: 'server/sync/journal.ts',
    find: 'if (real.length === 0) return',
    replace: 'if (real.length >= 0) return',
  },
  {
    guard: 'rejected rows of clients that do not keep them are journaled',
    file: 'server/sync/replicate.ts',
    find: 'if (!keepsRejected)',
    replace: 'if (resource.readOnly)',
  },
  {
    guard: 'an invalid row does not block others',
    file: 'server/sync/replicate.ts',
    find: 'const complete = withoutIncomplete(',
    replace: `if (reading.refusals.length > 0) throw new Error('not valid')
    const complete = withoutIncomplete(`,
  },
  {
    guard: 'a change is later than the previous one, whatever the clock says',
    file: 'protocol/settle.ts',
    find: 'Date.parse(updated_at) + 1',
    replace: 'Date.parse(updated_at)',
    seed: 14,
  },
  {
    guard: 'the SDK pulls after a gap in the frames',
    file: 'client-sdk/sync/replication.ts',
    find: 'if (isGap) this.look()',
    replace: '',
    sdk: true,
    seed: 4,
  },
  {
    guard: 'the SDK stores a page before it moves the cursor',
    file: 'client-sdk/sync/replica.ts',
    find: 'if (isWanted()) await this.lasting(store)',
    replace: `if (isWanted())
          await store().catch(() => {
            this.states.cursor = checkpoint
          })`,
    sdk: true,
    seed: 9,
  },
  {
    guard: 'the SDK records the result of a push, however often that fails',
    file: 'client-sdk/sync/replica.ts',
    find: 'await this.turns.take(() => this.lasting(() => this.record(sent, pushed)))',
    replace: `await this.turns.take(() => this.record(sent, pushed)).catch(() => {
        for (const { row, edit } of sent) this.edits.markSent(idOf(row), edit)
      })`,
    sdk: true,
    isRare: true,
  },
  {
    guard: 'the SDK finds unsent edits at the start',
    file: 'client-sdk/sync/replica.ts',
    find: 'this.edits.mark(unsent.filter((id) => !this.edits.has(id)))',
    replace: 'unsent.filter((id) => !this.edits.has(id))',
    sdk: true,
  },
  {
    guard: 'the SDK notices a write that failed but was stored',
    file: 'client-sdk/sync/writes.ts',
    find: 'this.wrote(name, ids)',
    replace: 'if (!rows.length) this.wrote(name, ids)',
    sdk: true,
    isRare: true,
  },
  {
    guard: 'the SDK stores no received state of a document during its push',
    file: 'client-sdk/sync/replica.ts',
    find: 'const isSending = () => documents.some(({ id }) => this.sending$.value.has(id))',
    replace: 'const isSending = () => documents.length < 0',
    sdk: true,
    seed: 43,
  },
  {
    guard: 'the SDK repairs what its self-check finds',
    file: 'client-sdk/sync/self-check.ts',
    find: 'await states.mend(faulty)',
    replace: '',
    sdk: true,
  },
  {
    guard: 'the SDK is not synced while it stores changes',
    file: 'client-sdk/sync/replication.ts',
    find: 'map((all) => all.every(Boolean)),',
    replace: 'map(() => true),',
    sdk: true,
  },
  {
    guard: 'the SDK asks before it deletes unsent edits',
    file: 'client-sdk/client.ts',
    find: 'if (keepData === undefined) await refuseUnsent(copy)',
    replace: '',
    sdk: true,
  },
  {
    guard: 'only the server can reject a row of the SDK',
    file: 'client-sdk/sync/push.ts',
    find: 'const isRowsFault = isJudgement(error)',
    replace:
      'const isRowsFault = error instanceof ClientError && [400, 413].includes(error.status ?? 0)',
    sdk: true,
    seed: 20,
  },
]

/** The source without the guard. @throws if the line does not occur exactly once, as after a change */
export function mutated({ guard, file, find, replace }: Mutant): string {
  const parts = readFileSync(path.join(root, file), 'utf8').split(find)
  if (parts.length !== 2)
    throw new Error(`${guard}: ${file} has this line ${parts.length - 1} times: ${find}`)
  return parts.join(replace)
}

/**
 * Runs the simulation on copies of the product that lack one guard each.
 *
 * @returns whether the simulation found all of them
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

/** @returns the violation that revealed it; undefined if it was not found */
export async function findMutant(mutant: Mutant): Promise<string | undefined> {
  // Inside the project, so that imports of packages resolve.
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
  const first = mutant.seed ?? 1
  const seeds = store === 'postgres' ? '120' : '400'
  const devices = mutant.sdk ? 'sdk' : 'models'
  const told = await run(copy, [
    '--first',
    String(first),
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

async function run(copy: string, options: readonly string[]): Promise<string> {
  const main = path.join(copy, 'main.mjs')
  await bundleProgram(`import './tests/simulation/main.ts'`, copy, main)
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [main, ...options],
      { cwd: root, maxBuffer: 64 * 1024 * 1024 },
      (_error, stdout) => resolve(stdout),
    )
  })
}
