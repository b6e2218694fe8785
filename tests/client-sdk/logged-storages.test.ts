import * as fc from 'fast-check'
import {
  fillWithDefaultSettings,
  getChangedDocumentsSince,
  normalizeMangoQuery,
  now,
  prepareQuery,
  type RxStorageInstance,
  randomToken,
} from 'rxdb'
import { getRxStorageMemory, OPEN_MEMORY_INSTANCES } from 'rxdb/plugins/storage-memory'
import { afterEach, describe, expect, test } from 'vitest'
import type { Storage } from '../../client-sdk/local/storage.ts'
import { loggedStorage } from '../../client-sdk/local/storage-logged.ts'
import { keyValueMedium, MEDIA, type Medium, type Step } from './media.ts'

interface Note {
  id: string
  text: string
}
type Kept = Note & { _deleted: boolean; _rev: string; _meta: { lwt: number }; _attachments: object }
// biome-ignore lint/suspicious/noExplicitAny: whatever RxDB has there
type Instance = RxStorageInstance<Note, any, any>

const SCHEMA = fillWithDefaultSettings<Note>({
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: { id: { type: 'string', maxLength: 20 }, text: { type: 'string' } },
})
const IDS = Array.from({ length: 40 }, (_, index) => `note-${index}`)

const media: Medium[] = []
afterEach(() => {
  for (const medium of media.splice(0)) medium.close()
})
const opened = (open: () => Medium) => {
  const medium = open()
  media.push(medium)
  return medium
}

function open(
  storage: Storage,
  { database = 'notes', collection = 'notes', schema = SCHEMA } = {},
): Promise<Instance> {
  return storage.createStorageInstance<Note>({
    databaseInstanceToken: 'test',
    databaseName: database,
    collectionName: collection,
    schema,
    options: {},
    multiInstance: false,
    devMode: false,
  }) as Promise<Instance>
}

const all = async (instance: Instance, ids = IDS): Promise<Kept[]> =>
  (await instance.findDocumentsById(ids, true)) as Kept[]

let revision = 0
const edited = (id: string, text: string, _deleted = false): Kept => {
  const _rev = `${++revision}-test`
  return { id, text, _deleted, _rev, _meta: { lwt: now() }, _attachments: {} }
}

const write = async (instance: Instance, model: Model, documents: readonly Kept[]) => {
  const rows = documents.map((document) => ({ previous: model.get(document.id), document }))
  const { error } = await instance.bulkWrite(rows as never, 'test')
  expect(error).toEqual([])
}

/** What was acknowledged, by id. */
type Model = Map<string, Kept>

type Command =
  | { kind: 'write'; ids: string[]; length: number; isDeletion: boolean }
  | { kind: 'cleanup' }
  | { kind: 'start' }

const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    {
      weight: 20,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        ids: fc.uniqueArray(fc.constantFrom(...IDS), { minLength: 1, maxLength: 8 }),
        length: fc.integer({ min: 0, max: 5_000 }),
        isDeletion: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cleanup' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('start' as const) }) },
  ),
  { maxLength: 100, size: 'max' },
)

const fault = fc.record({
  at: fc.integer({ min: 0, max: 250 }),
  /** What of the step is done. */
  done: fc.constantFrom('nothing', 'half', 'all'),
  /** The app is killed; or the store goes on after one failure, and the app tries again or starts anew. */
  next: fc.constantFrom('killed', 'tries again', 'starts anew'),
})
type Fault = typeof fault extends fc.Arbitrary<infer T> ? T : never

class Broken extends Error {}

function breaking({ at, done, next }: Fault): Step {
  let count = 0
  return (apply, applyHalf) => {
    const number = count++
    if (number > at && next === 'killed') throw new Broken()
    if (number !== at) return apply()
    if (done === 'all') apply()
    if (done === 'half') applyHalf()
    throw new Broken()
  }
}

describe.each(MEDIA)('%s', (_name, openMedium) => {
  test('keeps every acknowledged write and no partial one, under all faults', async () => {
    await fc.assert(
      fc.asyncProperty(commands, fault, async (commands, fault) => {
        const medium = openMedium()
        try {
          await play(medium, commands, fault)
        } finally {
          medium.close()
        }
      }),
      { numRuns: 25 },
    )
  })

  test('writes little more than the documents, and takes at most three times their size', async () => {
    const medium = opened(openMedium)
    const model: Model = new Map()
    const ids = Array.from({ length: 1_000 }, (_, index) => `note-${index}`)
    let instance = await open(medium.storage())
    for (let i = 0; i < ids.length; i += 500) {
      const documents = ids.slice(i, i + 500).map((id) => edited(id, 'x'.repeat(500)))
      await write(instance, model, documents)
      for (const document of documents) model.set(document.id, document)
    }
    const size = JSON.stringify([...model.values()]).length
    expect(medium.moved()).toBeLessThan(1.2 * size)
    let most = 0
    for (let i = 0; i < 2_500; i++) {
      const before = medium.moved()
      const document = edited(ids[(i * 7_919) % ids.length]!, 'y'.repeat(500))
      await write(instance, model, [document])
      model.set(document.id, document)
      most = Math.max(most, medium.moved() - before)
    }
    expect(most).toBeLessThan(50_000)
    // Each round leaves a few documents where they are, between others that are out of date.
    for (let round = 1; round < 12; round++) {
      const documents = ids
        .filter((_, index) => index % 100 >= 5 * round)
        .map((id) => edited(id, 'z'.repeat(500)))
      await write(instance, model, documents)
      for (const document of documents) model.set(document.id, document)
    }
    expect(medium.size()).toBeLessThan(3 * size)
    await instance.close()
    const before = medium.moved()
    instance = await open(medium.storage())
    expect(medium.moved() - before).toBeLessThan(4 * size)
    expect(await all(instance, ids)).toEqual(ids.map((id) => model.get(id)))
  })

  test("answers as RxDB's own storage in memory does, and closes as it does", async () => {
    const writes = fc.array(
      fc.record({
        ids: fc.uniqueArray(fc.constantFrom(...IDS), { minLength: 1, maxLength: 8 }),
        isConflict: fc.boolean(),
        isDeletion: fc.boolean(),
      }),
      { maxLength: 40, size: 'max' },
    )
    await fc.assert(
      fc.asyncProperty(writes, async (writes) => {
        const medium = openMedium()
        const openBefore = OPEN_MEMORY_INSTANCES.size
        const both = [
          await open(medium.storage()),
          await open(getRxStorageMemory(), { database: randomToken(9) }),
        ]
        const seen: unknown[][] = [[], []]
        both.forEach((one, index) => {
          one.changeStream().subscribe(({ events, checkpoint }) => {
            seen[index]!.push([events, checkpoint])
          })
        })
        const model: Model = new Map()
        for (const { ids, isConflict, isDeletion } of writes) {
          const rows = ids.map((id) => ({
            ...(!isConflict && { previous: model.get(id) }),
            document: edited(id, `text ${revision % 7}`, isDeletion),
          }))
          const [ours, theirs] = await Promise.all(
            both.map((one) => one.bulkWrite(rows as never, 'test')),
          )
          expect(ours).toEqual(theirs)
          const refused = new Set(theirs!.error.map(({ documentId }) => documentId))
          for (const { document } of rows)
            if (!refused.has(document.id)) model.set(document.id, document)
        }
        const [ours, theirs] = await Promise.all(both.map(everything))
        expect(ours).toEqual(theirs)
        expect(seen[0]).toEqual(seen[1])
        await both[1]!.remove()
        await Promise.all([both[0]!.close(), both[0]!.close()])
        await expect(both[0]!.remove()).rejects.toThrow('closed')
        const again = await open(medium.storage())
        expect(await everything(again)).toEqual(theirs)
        await again.remove()
        await again.close()
        expect(OPEN_MEMORY_INSTANCES.size).toBe(openBefore)
        medium.close()
      }),
      { numRuns: 20 },
    )
  })

  test('serializes concurrent writes', async () => {
    const medium = opened(openMedium)
    const instance = await open(medium.storage())
    const results = await Promise.all(
      ['first', 'second', 'third'].map((text) =>
        instance.bulkWrite([{ document: edited('note-0', text) }] as never, 'test'),
      ),
    )
    const statuses = results.map(({ error }) => error.map(({ status }) => status))
    expect(statuses).toEqual([[], [409], [409]])
    for (const one of [instance, await open(medium.storage())])
      expect(await all(one)).toMatchObject([{ text: 'first' }])
  })

  test('cleans up only documents that were deleted long enough ago', async () => {
    const medium = opened(openMedium)
    const instance = await open(medium.storage())
    const ago = (minutes: number, document: Kept): Kept => ({
      ...document,
      _meta: { lwt: now() - minutes * 60_000 },
    })
    await write(instance, new Map(), [
      ago(9, edited('note-0', 'deleted long ago', true)),
      ago(8, edited('note-1', 'deleted long ago, too', true)),
      ago(1, edited('note-2', 'deleted now', true)),
      ago(9, edited('note-3', 'not deleted')),
    ])
    while (!(await instance.cleanup(5 * 60_000)));
    for (const one of [instance, await open(medium.storage())])
      expect((await all(one)).map(({ id }) => id)).toEqual(['note-2', 'note-3'])
  })

  test('separates databases, collections and versions, and removes each without a trace', async () => {
    const medium = opened(openMedium)
    const places = [
      {},
      { database: 'notes/notes/0' },
      { database: 'notes-2' },
      { database: 'Notes' },
      { database: "it's ä/ö" },
      { collection: 'notes-2' },
      { schema: { ...SCHEMA, version: 1 } },
    ]
    for (const [index, place] of places.entries())
      await write(await open(medium.storage(), place), new Map(), [edited('note-0', `${index}`)])
    for (const [index, place] of places.entries()) {
      const instance = await open(medium.storage(), place)
      expect(await all(instance)).toMatchObject([{ text: `${index}` }])
      await instance.remove()
    }
    expect(await all(await open(medium.storage()))).toEqual([])
    await (await open(medium.storage())).remove()
    expect(medium.size()).toBe(0)
  })

  test('belongs to the app that opened it last', async () => {
    const medium = opened(openMedium)
    const former = await open(medium.storage())
    await write(former, new Map(), [edited('note-0', 'former')])
    const latter = await open(medium.storage())
    const late = write(former, new Map(), [edited('note-1', 'late')])
    await expect(late).rejects.toMatchObject({ code: 'opened_elsewhere' })
    await write(latter, new Map(), [edited('note-1', 'latter')])
    const left = await all(await open(medium.storage()))
    expect(left.map(({ text }) => text)).toEqual(['former', 'latter'])
  })

  test('refuses a collection with attachments, and changes nothing', async () => {
    const medium = opened(openMedium)
    const opening = open(medium.storage(), { schema: { ...SCHEMA, attachments: {} } })
    await expect(opening).rejects.toThrow(/^The \S+ storage does not support attachments/)
    expect(medium.moved()).toBe(0)
  })

  test('opens while the store is full, and rejects each write', async () => {
    const medium = opened(openMedium)
    const document = edited('note-0', 'kept')
    await write(await open(medium.storage()), new Map(), [document])
    let isFull = true
    const step: Step = (apply) => {
      if (isFull) throw new Error('full')
      return apply()
    }
    const instance = await open(medium.storage(step))
    expect(await all(instance)).toEqual([document])
    const refused = write(instance, new Map(), [edited('note-1', 'late')])
    await expect(refused).rejects.toMatchObject({ code: 'not_stored' })
    isFull = false
    await write(instance, new Map(), [edited('note-1', 'later')])
    expect(await all(await open(medium.storage()))).toHaveLength(2)
  })
})

test('five thousand single writes leave few keys, and cost a few times their size', async () => {
  const kept = new Map<string, string>()
  const medium = keyValueMedium(kept)
  const instance = await open(medium.storage())
  for (let i = 0; i < 5_000; i++) await write(instance, new Map(), [edited(`note-${i}`, 'x')])
  expect(kept.size).toBeLessThan(150)
  expect(medium.moved() / medium.size()).toBeLessThan(5)
})

test('purged documents do not come back if a key could not be removed at once', async () => {
  const kept = new Map<string, string>()
  const instance = await open(keyValueMedium(kept).storage())
  await write(instance, new Map(), [edited('note-0', 'old', true)])
  const remove = kept.delete
  kept.delete = () => {
    kept.delete = remove
    throw new Error('busy')
  }
  await instance.cleanup(0)
  expect(await all(await open(keyValueMedium(kept).storage()))).toEqual([])
})

test('a failed open leaves nothing in memory', async () => {
  const before = OPEN_MEMORY_INSTANCES.size
  const load = async () => expect.fail('broken')
  const broken = loggedStorage('broken', {}, () => ({ load }) as never)
  await expect(open(broken)).rejects.toThrow('broken')
  expect(OPEN_MEMORY_INSTANCES.size).toBe(before)
})

/** What a storage says of all that it has, in each of its ways. */
async function everything(instance: Instance) {
  const query = (selector: object) =>
    prepareQuery<Note>(
      SCHEMA,
      normalizeMangoQuery(SCHEMA, { selector, sort: [{ id: 'desc' }], skip: 1, limit: 20 }),
    )
  const changed: unknown[] = []
  for (let checkpoint: unknown; ; ) {
    const page = await getChangedDocumentsSince(instance, 7, checkpoint)
    changed.push(page)
    checkpoint = page.checkpoint
    if (page.documents.length === 0) break
  }
  return {
    all: await all(instance),
    undeleted: await instance.findDocumentsById(IDS, false),
    found: await instance.query(query({ text: { $gt: 'text 3' } })),
    counted: await instance.count(query({ text: 'text 4' })),
    changed,
  }
}

async function play(medium: Medium, commands: readonly Command[], fault: Fault): Promise<void> {
  let model: Model = new Map()
  let instance: Instance | undefined
  const step = breaking(fault)
  let storage = () => medium.storage(step)
  for (const command of commands) {
    const after = new Map(model)
    const documents: Kept[] = []
    if (command.kind === 'write')
      for (const id of command.ids) {
        const { isDeletion, length } = command
        documents.push(edited(id, 'x'.repeat(length), isDeletion))
        after.set(id, documents.at(-1)!)
      }
    if (command.kind === 'cleanup')
      for (const [id, { _deleted }] of model) if (_deleted) after.delete(id)
    const run = async () => {
      if (command.kind === 'start') await instance?.close()
      if (!instance || command.kind === 'start') instance = await open(storage())
      if (command.kind === 'write') await write(instance, model, documents)
      if (command.kind === 'cleanup') await instance.cleanup(0)
    }
    try {
      await run()
      model = after
    } catch (error) {
      if (!isBroken(error)) throw error
      if (fault.next === 'tries again') {
        if (instance) expectState(await all(instance), model)
        await run()
        model = after
      } else {
        if (fault.next === 'killed') storage = () => medium.storage()
        instance = await open(storage())
        const found = await all(instance)
        // What was not acknowledged may be there; of a failed write nothing is.
        const isDone = fault.next === 'killed' && equal(found, after)
        expectState(found, isDone ? after : model)
        if (isDone) model = after
      }
    }
  }
  expectState(await all(await open(medium.storage())), model)
}

const sorted = (documents: Iterable<Kept>) =>
  [...documents].sort((a, b) => (a.id < b.id ? -1 : 1)).map((one) => JSON.stringify(one))
const equal = (found: Kept[], model: Model) =>
  JSON.stringify(sorted(found)) === JSON.stringify(sorted(model.values()))
const expectState = (found: Kept[], model: Model) =>
  expect(sorted(found)).toEqual(sorted(model.values()))

const isBroken = (error: unknown): boolean =>
  error instanceof Broken || (error as Error).cause instanceof Broken
