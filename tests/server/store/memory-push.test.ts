import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type PushResponse,
  type PushRow,
  type Resource,
  resources,
  settle,
  type WireDocument,
} from '../../../protocol/index.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { type Page, pull, push } from '../../../server/sync/replicate.ts'
import type { Store } from '../../../server/sync/store.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { addUser } from '../../support/store-contract.ts'

const { tasks, categories, conflicts } = resources
const ALL: readonly Resource[] = [tasks, categories, conflicts]
const SESSIONS = ['7f6c1c5e-3c52-4a35-9b52-5f6f0a4f8a01', '7f6c1c5e-3c52-4a35-9b52-5f6f0a4f8a02']
const idOf = (kind: number, nth: number) => `0190a5c2-7a4e-7cc3-98c4-dc0c0c07${kind}00${nth}`
/** Shrinking ends before the test times out, so that the seed is always told. */
const IN_TIME = { interruptAfterTimeLimit: 10_000 }
const minute = (n: number) => new Date(Date.UTC(2026, 10, 22, 8, n)).toISOString()

let database: TestDatabase
let inPostgres: Store
const inMemory = memoryStore()
beforeAll(async () => {
  database = await createDatabase()
  inPostgres = postgresStore(database.db)
})
afterAll(() => database.drop())

async function createUser(): Promise<string> {
  const user = await addUser(database.db)
  inMemory.addUser(user)
  return user
}

/** What a device does with one document. */
interface Change {
  nth: number
  action: 'edit' | 'delete' | 'create'
  fields: Record<string, unknown>
  /** How many of the states that it has seen the device has forgotten. */
  stale: number
}

/** What a device pushes at once, each document at most once. */
interface Batch {
  device: number
  kind: 'tasks' | 'categories'
  changes: Change[]
  /** How far its clock is ahead, in minutes. */
  ahead: number
  hearsAnswer: boolean
  pullsBefore: boolean
}

const aTitle = fc.oneof(
  fc.constantFrom('Milk', 'Bread', 'Tea', ''),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }),
)
const fieldsOf: Record<Batch['kind'], fc.Arbitrary<Record<string, unknown>>> = {
  tasks: fc.record(
    {
      title: aTitle,
      priority: fc.constantFrom('low', 'high'),
      completed: fc.boolean(),
      due_time: fc.constantFrom(null, '08:30'),
      category_id: fc.constantFrom(null, idOf(1, 0), idOf(1, 1), idOf(1, 2)),
    },
    { requiredKeys: [] },
  ),
  categories: fc.record({ name: aTitle, color: fc.constantFrom('#64748b', '#0ea5e9') }),
}

const aBatch = (kind: Batch['kind']): fc.Arbitrary<Batch> =>
  fc.record({
    device: fc.nat(1),
    kind: fc.constant(kind),
    changes: fc.uniqueArray(
      fc.record<Change>({
        nth: fc.nat(2),
        action: fc.constantFrom('edit', 'edit', 'edit', 'delete', 'create'),
        fields: fieldsOf[kind],
        stale: fc.constantFrom(0, 0, 1, 2),
      }),
      { minLength: 1, maxLength: 3, selector: ({ nth }) => nth },
    ),
    ahead: fc.integer({ min: -4, max: 4 }),
    hearsAnswer: fc.boolean(),
    pullsBefore: fc.boolean(),
  })

const batches = (maxLength = 14) =>
  fc.array(fc.oneof(aBatch('tasks'), aBatch('tasks'), aBatch('categories')), {
    minLength: 3,
    maxLength,
  })

/** Each state of each document that a device has come to know as stored, oldest first. */
type Replica = Map<string, WireDocument[]>

function learn(replica: Replica, document: WireDocument): void {
  replica.set(document.id, [...(replica.get(document.id) ?? []), document])
}

function rowOf(replica: Replica, { kind, ahead }: Batch, change: Change, at: number): PushRow {
  const resource: Resource = resources[kind]
  const id = idOf(ALL.indexOf(resource), change.nth)
  const known = replica
    .get(id)
    ?.slice(0, -change.stale || undefined)
    .at(-1)
  const now = minute(at + ahead)
  const fields = { title: 'Milk', name: 'Errands', ...change.fields }
  const given = Object.fromEntries(
    Object.entries(fields).filter(([name]) => name in resource.fields),
  )
  if (!known || change.action === 'create')
    return { newDocumentState: { ...settle(resource, { id, ...given }, undefined, now) } }
  const { _deleted, ...previous } = known
  const edits = change.action === 'edit' ? change.fields : {}
  const document = settle(resource, { ...previous, ...edits, updated_at: now }, previous, now)
  return {
    newDocumentState: { ...document, _deleted: change.action === 'delete' },
    assumedMasterState: known,
  }
}

const wholeFeed = async (store: Store, user: string): Promise<Page[]> =>
  Promise.all(ALL.map((resource) => pull(store, user, resource, { id: '', lwt: 0 }, 1_000)))

/** A journal entry's values have no order, and Postgres writes them in another one. */
const readable = (pages: Page[]) =>
  pages.map(({ documents, checkpoint }, i) => ({
    checkpoint,
    documents: ALL[i] === conflicts ? JSON.parse(documents) : documents,
  }))

/**
 * Lets two devices push to these stores, which are to answer alike.
 *
 * @param pushed is called after each batch with the answers, and can push it again some minutes later
 */
async function replay(
  stores: readonly Store[],
  user: string,
  all: readonly Batch[],
  pushed: (
    answers: PushResponse[],
    again: (later: number) => Promise<PushResponse[]>,
  ) => Promise<void> = async () => {},
): Promise<void> {
  const replicas: Replica[] = [new Map(), new Map()]
  for (const [i, batch] of all.entries()) {
    const { device, kind } = batch
    const replica = replicas[device]!
    if (batch.pullsBefore)
      for (const { documents } of await wholeFeed(stores[0]!, user))
        for (const document of JSON.parse(documents)) learn(replica, document)
    const at = 10 * (i + 1)
    const rows = batch.changes.map((change) => rowOf(replica, batch, change, at))
    const pusher = { user, session: SESSIONS[device]! }
    const pushAt = (now: number) =>
      Promise.all(stores.map((store) => push(store, pusher, resources[kind], rows, minute(now))))
    const answers = await pushAt(at)
    for (const answer of answers) expect(JSON.stringify(answer)).toBe(JSON.stringify(answers[0]))
    await pushed(answers, (later) => pushAt(at + later))
    if (batch.hearsAnswer) hear(replica, rows, answers[0]!)
  }
}

function hear(
  replica: Replica,
  rows: readonly PushRow[],
  { conflicts, rejected }: PushResponse,
): void {
  const refused = new Set(rejected.map(({ id }) => id))
  const stored = new Map(conflicts.map((document) => [document.id, document]))
  for (const { newDocumentState: sent } of rows)
    if (!refused.has(sent.id))
      learn(replica, stored.get(sent.id) ?? ({ _deleted: false, ...sent } as WireDocument))
}

/** A repetition is answered with how far the feed is by then. */
const withoutCheckpoint = ({ checkpoint: _, ...answer }: PushResponse) => answer

describe('what two devices push', () => {
  test('leaves the same in memory as in Postgres, and is answered the same', async () => {
    const seen = { journal: 0, tombstones: 0 }
    await fc.assert(
      fc.asyncProperty(batches(), async (all) => {
        const user = await createUser()
        await replay([inMemory, inPostgres], user, all)
        const [mine, theirs] = [await wholeFeed(inMemory, user), await wholeFeed(inPostgres, user)]
        expect(readable(mine)).toEqual(readable(theirs))
        expect(await inMemory.heads([user])).toEqual(await inPostgres.heads([user]))
        expect(await inMemory.frame(user, 0)).toEqual(await inPostgres.frame(user, 0))
        const [texts, , journal] = mine.map(({ documents }) => documents)
        seen.journal += JSON.parse(journal!).length
        seen.tombstones += texts!.split('"_deleted":true').length - 1
      }),
      { numRuns: 100, ...IN_TIME },
    )
    expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([])
  })

  test.each([
    ['at once', 0],
    ['a minute later', 1],
  ])('change nothing when repeated %s, and get the same response', async (_when, later) => {
    await fc.assert(
      fc.asyncProperty(batches(), async (all) => {
        const user = await createUser()
        const stores = [inMemory, inPostgres]
        const stateOf = async (store: Store) => [
          await wholeFeed(store, user),
          await store.heads([user]),
        ]
        const state = () => Promise.all(stores.map(stateOf))
        await replay(stores, user, all, async (answers, again) => {
          const before = await state()
          expect((await again(later)).map(withoutCheckpoint)).toEqual(
            answers.map(withoutCheckpoint),
          )
          expect(await state()).toEqual(before)
        })
      }),
      { numRuns: 60, ...IN_TIME },
    )
  })

  test('change nothing when all are repeated at the end', async () => {
    await fc.assert(
      // So many, because so many edits of a document are known again.
      fc.asyncProperty(batches(8), async (all) => {
        const user = await createUser()
        const repeats: (() => Promise<PushResponse[]>)[] = []
        await replay([inMemory, inPostgres], user, all, async (_answers, again) => {
          repeats.push(() => again(200))
        })
        const state = () =>
          Promise.all([inMemory, inPostgres].map((store) => wholeFeed(store, user)))
        const before = await state()
        for (const repeat of repeats) {
          const [mine, theirs] = await repeat()
          expect(mine).toEqual(theirs)
        }
        expect(await state()).toEqual(before)
      }),
      { numRuns: 60, ...IN_TIME },
    )
  })
})
