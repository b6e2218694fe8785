import { randomUUID } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { bucketOf, type Document, type Resource, resources, settle } from '../../protocol/index.ts'
import type { Database } from '../../server/database/connect.ts'
import { FIRST_EPOCH } from '../../server/sync/cursors.ts'
import { deleteForGood } from '../../server/sync/for-good.ts'
import { MAX_KEPT_BYTES } from '../../server/sync/kept-answers.ts'
import {
  type Edit,
  type Encoded,
  type Store,
  type Stored,
  UnknownUser,
} from '../../server/sync/store.ts'

const { tasks, categories } = resources

export const CREATED = '2026-11-22T08:00:00.000Z'
export const EDITED = '2026-11-22T09:00:00.000Z'

/** The `updated_at` of a change that is not later than the previous one by the clock. */
export const justAfter = (instant: string) => new Date(Date.parse(instant) + 1).toISOString()

export const aTask = (fields: Record<string, unknown> = {}) =>
  settle(tasks, { id: randomUUID(), title: 'Milk', ...fields }, undefined, CREATED)

export const aCategory = (fields: Record<string, unknown> = {}) =>
  settle(categories, { id: randomUUID(), name: 'Errands', ...fields }, undefined, CREATED)

export const patch = (id: string, fields: Edit['fields'], more: Partial<Edit> = {}): Edit => ({
  action: 'patch',
  id,
  fields,
  now: EDITED,
  ...more,
})

export const removal = (id: string, more: Partial<Edit> = {}): Edit => ({
  ...patch(id, {}, more),
  action: 'delete',
})

export const restoral = (id: string, more: Partial<Edit> = {}): Edit => ({
  ...patch(id, {}, more),
  action: 'restore',
})

export const live = (document: Document) => ({ deleted: false, document })
export const tombstone = (document: Document) => ({ deleted: true, document })

/** Adds a user to the database. Users without a row have no feed and cannot write. */
export async function addUser(db: Database): Promise<string> {
  const id = randomUUID()
  await db('users').insert({ id, username: id, email: `${id}@example.com`, password_hash: '' })
  return id
}

/** A promise that is resolved from outside. */
export function deferred<T = void>() {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

/**
 * Tests the promises of server/sync/store.ts.
 *
 * @param createStore opens a node: all of them keep the same documents
 * @param createUser makes a person that every store of `createStore` knows
 * @param failOver goes over to another timeline, on which this person's documents are the same
 * @param purge purges a person's tombstones, up to this number
 */
export function storeContract(
  createStore: () => Promise<Store>,
  createUser: () => Promise<string>,
  failOver: (user: string) => Promise<unknown>,
  purge: (user: string, upTo: number) => Promise<unknown>,
): void {
  const open = async () => {
    const [store, ann, bob] = [await createStore(), await createUser(), await createUser()]
    return { store, ann, bob }
  }

  describe('find', () => {
    test('returns a document as written, with its version', async () => {
      const { store, ann } = await open()
      const task = aTask({ due_date: '2026-12-01', due_time: '08:30', remind_at: EDITED })
      const written = await store.insert(ann, tasks, task)
      const found = await store.find(ann, tasks, task.id)
      expect(found).toEqual(written)
      expect(JSON.parse(found!.json)).toEqual(task)
    })

    test.each([
      ['an unknown id', async () => randomUUID()],
      ['a deleted document', async ({ store, ann }: Scene) => deleted(store, ann)],
      ["another person's document", async ({ store, bob }: Scene) => inserted(store, bob)],
      ['a document of another resource', async ({ store, ann }: Scene) => filed(store, ann)],
    ])('does not find %s', async (_what, idOf) => {
      const scene = await open()
      const id = await idOf(scene)
      expect(await scene.store.find(scene.ann, tasks, id)).toBeUndefined()
    })
  })

  describe('read', () => {
    test('returns the existing documents, deleted or not', async () => {
      const { store, ann, bob } = await open()
      const [kept, gone] = [await inserted(store, ann), await deleted(store, ann)]
      const ids = [kept, gone, randomUUID(), await inserted(store, bob), await filed(store, ann)]
      const found = await store.read(ann, tasks, ids)
      expect([...found].map(([id, { deleted }]) => [id, deleted]).sort()).toEqual(
        [
          [kept, false],
          [gone, true],
        ].sort(),
      )
    })

    test('returns nothing for no ids', async () => {
      const { store, ann } = await open()
      await inserted(store, ann)
      expect(await store.read(ann, tasks, [])).toEqual(new Map())
    })

    test('returns a tombstone with its fields', async () => {
      const { store, ann } = await open()
      const task = aTask({ description: 'two' })
      await store.insert(ann, tasks, task)
      const { seq } = (await store.edit(ann, tasks, removal(task.id)))!
      expect((await store.read(ann, tasks, [task.id])).get(task.id)).toEqual({
        seq,
        ...tombstone({ ...task, updated_at: EDITED }),
        changed: { _deleted: Date.parse(EDITED) },
      })
    })

    test('returns the time of the last change of each field, by any kind of write', async () => {
      const { store, ann } = await open()
      const category = aCategory()
      await store.insert(ann, categories, category)
      const task = aTask({ category_id: category.id })
      await store.insert(ann, tasks, task)
      const changed = async () => (await store.read(ann, tasks, [task.id])).get(task.id)?.changed
      expect(await changed()).toBeUndefined()
      const at = (minute: number) => `2026-11-22T09:${minute}:00.000Z`
      const ms = (minute: number) => Date.parse(at(minute))
      const same = { title: 'Milk', priority: 'high', due_date: '2026-12-01' }
      await store.edit(ann, tasks, patch(task.id, same, { now: at(10) }))
      await store.edit(ann, tasks, patch(task.id, { due_date: null }, { now: at(11) }))
      await store.edit(ann, tasks, removal(task.id, { now: at(12) }))
      await store.edit(ann, tasks, restoral(task.id, { now: at(13) }))
      const edits = { priority: ms(10), due_date: ms(11), _deleted: ms(13) }
      expect(await changed()).toEqual(edits)
      await store.edit(ann, categories, removal(category.id, { now: at(14) }))
      expect(await changed()).toEqual({ ...edits, category_id: ms(14) })
      const state = { ...live({ ...task, category_id: null }), changed: { title: ms(15) } }
      await store.transaction(ann, (tx) => tx.write(tasks, [state]))
      expect(await changed()).toEqual({ title: ms(15) })
    })
  })

  describe('insert', () => {
    test('numbers each document after the previous ones', async () => {
      const { store, ann } = await open()
      const seqs: number[] = []
      for (const task of [aTask(), aTask(), aTask()])
        seqs.push((await store.insert(ann, tasks, task))!.seq)
      expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b))
      expect((await store.changes(ann, tasks, 0, 10)).map(({ seq }) => seq)).toEqual(seqs)
    })

    test.each([
      ['the id is taken', inserted],
      ['the id is taken by a deleted document', deleted],
    ])('writes nothing when %s', async (_why, taken) => {
      const { store, ann } = await open()
      const id = await taken(store, ann)
      await expectNothing(store, ann, () => store.insert(ann, tasks, aTask({ id, title: 'Other' })))
    })

    test.each(unusableCategories)('writes nothing when the category is %s', async (_why, idOf) => {
      const scene = await open()
      const { store, ann } = scene
      const task = aTask({ category_id: await idOf(scene) })
      await expectNothing(store, ann, () => store.insert(ann, tasks, task))
      expect(await store.read(ann, tasks, [task.id])).toEqual(new Map())
    })

    test('accepts a reference to an existing category', async () => {
      const { store, ann } = await open()
      const category_id = await filed(store, ann)
      const written = await store.insert(ann, tasks, aTask({ category_id }))
      expect(JSON.parse(written!.json)).toMatchObject({ category_id })
    })

    test('is not affected by the same id of another user', async () => {
      const { store, ann, bob } = await open()
      const task = aTask()
      await store.insert(ann, tasks, task)
      expect(await store.insert(bob, tasks, { ...task, title: 'Bread' })).toBeDefined()
      expect(await titles(store, ann)).toEqual(['Milk'])
      expect(await titles(store, bob)).toEqual(['Bread'])
    })
  })

  describe('edit', () => {
    const LATER = '2026-11-22T10:00:00.000Z'
    const EARLIER = '2026-11-22T07:00:00.000Z'
    const done = { completed: true, completed_at: CREATED }
    test.each<[string, Record<string, unknown>, Record<string, unknown>, string]>([
      ['one field', {}, { title: 'Oat milk' }, EDITED],
      ['several fields', {}, { title: 'Oat milk', priority: 'high', due_date: null }, EDITED],
      ['a completion', {}, { completed: true }, LATER],
      ['a second completion', done, { completed: true, title: 'Oat milk' }, LATER],
      ['a reopening', done, { completed: false }, LATER],
      ['a clock that is behind', {}, { title: 'Oat milk' }, EARLIER],
    ])('gives what `settle` gives: %s', async (_what, had, fields, now) => {
      const { store, ann } = await open()
      const before = aTask(had)
      await store.insert(ann, tasks, before)
      const edited = await store.edit(ann, tasks, patch(before.id, fields, { now }))
      const settled = settle(tasks, { ...before, updated_at: now, ...fields }, before, now)
      expect(JSON.parse(edited!.json)).toEqual(settled)
      expect(await store.find(ann, tasks, before.id)).toEqual(edited)
    })

    test('deletes and restores a document', async () => {
      const { store, ann } = await open()
      const task = aTask()
      await store.insert(ann, tasks, task)
      const gone = await store.edit(ann, tasks, removal(task.id))
      expect(await store.find(ann, tasks, task.id)).toBeUndefined()
      const back = await store.edit(ann, tasks, restoral(task.id))
      expect(back!.seq).toBeGreaterThan(gone!.seq)
      expect(JSON.parse(back!.json)).toEqual({ ...task, updated_at: justAfter(EDITED) })
    })

    test('applies if the document has one of the given versions', async () => {
      const { store, ann } = await open()
      const task = aTask()
      const { seq } = (await store.insert(ann, tasks, task))!
      const ifSeq = [seq + 1000, seq]
      expect(await store.edit(ann, tasks, patch(task.id, { title: 'a' }, { ifSeq }))).toBeDefined()
    })

    test.each<[string, (scene: Scene) => Promise<Edit>]>([
      ['a patch of nothing there', async () => patch(randomUUID(), { title: 'a' })],
      ['a deletion of nothing there', async () => removal(randomUUID())],
      ['a restoral of nothing there', async () => restoral(randomUUID())],
      [
        'a patch of a deleted one',
        async (s) => patch(await deleted(s.store, s.ann), { title: 'a' }),
      ],
      ['a second deletion', async (s) => removal(await deleted(s.store, s.ann))],
      ['a restoral of a live one', async (s) => restoral(await inserted(s.store, s.ann))],
      [
        'a restoral of one that was deleted for good',
        async ({ store, ann }) => {
          const id = await inserted(store, ann)
          await deleteForGood(store, ann, tasks, { id, ifSeq: undefined, now: EDITED })
          return restoral(id)
        },
      ],
      ['a patch of no field', async (s) => patch(await inserted(s.store, s.ann), {})],
      ['a patch to what is', async (s) => patch(await inserted(s.store, s.ann), { title: 'Milk' })],
      [
        'a patch that clears what is clear',
        async (s) => patch(await inserted(s.store, s.ann), { due_date: null, completed: false }),
      ],
      ["another's document", async (s) => patch(await inserted(s.store, s.bob), { title: 'a' })],
      ["another's deleted one", async (s) => restoral(await deleted(s.store, s.bob))],
      [
        'a patch of another version',
        async (s) => patch(await inserted(s.store, s.ann), { title: 'a' }, { ifSeq: [1_000_000] }),
      ],
      [
        'a deletion of no version at all',
        async (s) => removal(await inserted(s.store, s.ann), { ifSeq: [] }),
      ],
      [
        'a restoral of another version',
        async (s) => restoral(await deleted(s.store, s.ann), { ifSeq: [1_000_000] }),
      ],
    ])('writes nothing for %s', async (_what, editOf) => {
      const scene = await open()
      const edit = await editOf(scene)
      const { store, ann, bob } = scene
      const bobs = await store.changes(bob, tasks, 0, 10)
      await expectNothing(store, ann, () => store.edit(ann, tasks, edit))
      expect(await store.changes(bob, tasks, 0, 10)).toEqual(bobs)
    })

    test.each(unusableCategories)('writes nothing when the category is %s', async (_why, idOf) => {
      const scene = await open()
      const { store, ann } = scene
      const id = await inserted(store, ann)
      const category_id = await idOf(scene)
      const edit = patch(id, { category_id, title: 'Oat milk' })
      await expectNothing(store, ann, () => store.edit(ann, tasks, edit))
    })

    test('compares and sets: of concurrent edits of one version, one applies', async () => {
      const { store, ann } = await open()
      const id = await inserted(store, ann, { title: '0' })
      await Promise.all(Array.from({ length: 8 }, () => increment(store, ann, id)))
      expect(await titles(store, ann)).toEqual(['8'])
    })
  })

  describe('transaction', () => {
    test('returns the result of its work', async () => {
      const { store, ann } = await open()
      expect(await store.transaction(ann, async () => 'done')).toBe('done')
    })

    test('inserts and replaces whole documents, numbered in the given order', async () => {
      const { store, ann } = await open()
      const [kept, replaced, gone] = [aTask(), aTask({ description: 'two' }), aTask()]
      await store.insert(ann, tasks, replaced)
      const next = { ...aTask({ title: 'Bread' }), id: replaced.id }
      await store.transaction(ann, (tx) =>
        tx.write(tasks, [tombstone(gone), live(next), live(kept)]),
      )
      expect(unnumbered(await store.changes(ann, tasks, 0, 10))).toEqual([
        tombstone(gone),
        live(next),
        live(kept),
      ])
    })

    test('deletes and restores by writing', async () => {
      const { store, ann } = await open()
      const task = aTask()
      for (const state of [live(task), tombstone(task), live(task)]) {
        await store.transaction(ann, (tx) => tx.write(tasks, [state]))
        expect(unnumbered(await store.changes(ann, tasks, 0, 10))).toEqual([state])
      }
    })

    test('reads its own writes, which others see only after the commit', async () => {
      const { store, ann } = await open()
      const task = aTask()
      await store.transaction(ann, async (tx) => {
        await tx.write(tasks, [live(task)])
        expect((await tx.read(tasks, [task.id])).get(task.id)?.document).toEqual(task)
        expect(await store.find(ann, tasks, task.id)).toBeUndefined()
        expect(await store.changes(ann, tasks, 0, 10)).toEqual([])
      })
      expect(await store.find(ann, tasks, task.id)).toBeDefined()
    })

    test('reads tombstones too, and nothing of other users', async () => {
      const { store, ann, bob } = await open()
      const [mine, gone, bobs] = [
        await inserted(store, ann),
        await deleted(store, ann),
        await inserted(store, bob),
      ]
      const ids = [mine, gone, bobs, randomUUID()]
      const inside = await store.transaction(ann, (tx) => tx.read(tasks, ids))
      expect(inside).toEqual(await store.read(ann, tasks, ids))
      expect([...inside.keys()].sort()).toEqual([mine, gone].sort())
    })

    test('writes for its own user, even if another one has the id', async () => {
      const { store, ann, bob } = await open()
      const id = await inserted(store, bob)
      await store.transaction(ann, (tx) => tx.write(tasks, [live(aTask({ id, title: 'Mine' }))]))
      expect(await titles(store, bob)).toEqual(['Milk'])
      expect(await titles(store, ann)).toEqual(['Mine'])
    })

    test('rolls everything back if its work throws, and rethrows the error', async () => {
      const { store, ann } = await open()
      const id = await inserted(store, ann)
      const before = await everything(store, ann)
      const fault = new Error('no')
      const failing = store.transaction(ann, async (tx) => {
        await tx.write(categories, [live(aCategory())])
        await tx.write(tasks, [live(aTask()), tombstone(aTask({ id }))])
        throw fault
      })
      await expect(failing).rejects.toBe(fault)
      expect(await everything(store, ann)).toEqual(before)
      expect(await store.insert(ann, tasks, aTask())).toBeDefined()
    })

    test('undoes a part that throws, and goes on', async () => {
      const { store, ann } = await open()
      const [before, undone, after] = [aTask(), aTask(), aTask({ title: 'Bread' })]
      await store.transaction(ann, async (tx) => {
        await tx.write(tasks, [live(before)])
        const { seq } = tx.feed
        const failing = tx.undoing(async () => {
          await tx.write(tasks, [live({ ...before, title: 'Oat milk' }), live(undone)])
          await tx.write(categories, [live(aCategory())])
          throw new Error('no')
        })
        await expect(failing).rejects.toThrow('no')
        expect(tx.feed.seq).toBe(seq)
        const read = await tx.read(tasks, [before.id, undone.id])
        expect([...read.values()]).toMatchObject([live(before)])
        expect(await tx.undoing(() => tx.write(tasks, [live(after)]).then(() => 'done'))).toBe(
          'done',
        )
      })
      expect(unnumbered(await store.changes(ann, tasks, 0, 10))).toEqual([
        live(before),
        live(after),
      ])
      expect(await store.changes(ann, categories, 0, 10)).toEqual([])
    })

    test('blocks all other writers of the user until it ends', async () => {
      const { store, ann } = await open()
      const id = await inserted(store, ann, { title: 'before' })
      const [started, others] = [deferred(), deferred()]
      const seen = store.transaction(ann, async (tx) => {
        started.resolve()
        await others.promise
        const [first, again] = [await tx.read(tasks, [id]), await tx.read(tasks, [id])]
        await tx.write(tasks, [live({ ...first.get(id)!.document, description: 'mine' })])
        return [first, again].map((read) => read.get(id)!.document.title)
      })
      await started.promise
      const edit = store.edit(ann, tasks, patch(id, { title: 'after' }))
      const insert = store.insert(ann, tasks, aTask())
      await store.find(ann, tasks, id)
      others.resolve()
      expect(await seen).toEqual(['before', 'before'])
      expect(JSON.parse((await edit)!.json)).toMatchObject({ title: 'after', description: 'mine' })
      expect(await insert).toBeDefined()
    })

    test('does not block the transaction of another user', async () => {
      const { store, ann, bob } = await open()
      const id = await inserted(store, bob)
      await store.transaction(ann, async (tx) => {
        await tx.write(tasks, [live(aTask())])
        expect(await store.insert(bob, tasks, aTask({ title: 'Bread' }))).toBeDefined()
        expect(await store.edit(bob, tasks, removal(id))).toBeDefined()
        await store.transaction(bob, (other) => other.write(tasks, [live(aTask({ id }))]))
      })
      expect(await titles(store, bob)).toEqual(['Bread', 'Milk'])
    })

    test('loses no update of concurrent read-modify-writes of one document', async () => {
      const { store, ann } = await open()
      const id = await inserted(store, ann, { title: '0' })
      await Promise.all(Array.from({ length: 20 }, () => countUp(store, ann, id)))
      expect(await titles(store, ann)).toEqual(['20'])
    })

    test('writes a thousand documents, or an empty list', async () => {
      const { store, ann } = await open()
      const many = Array.from({ length: 1_000 }, (_, i) => aTask({ title: `task ${i}` }))
      await store.transaction(ann, async (tx) => {
        await tx.write(tasks, [])
        await tx.write(tasks, many.map(live))
      })
      const changes = await store.changes(ann, tasks, 0, 2_000)
      expect(unnumbered(changes)).toEqual(many.map(live))
      expect(changes.map(({ seq }) => seq)).toEqual(
        Array.from({ length: 1_000 }, (_, i) => changes[0]!.seq + i),
      )
    })
  })

  describe('the answers that a transaction keeps', () => {
    const [BEFORE, AT] = [new Date('2026-11-22T08:00:00Z'), new Date('2026-11-22T09:00:00Z')]
    const kept = { fingerprint: Buffer.from('what it was'), answer: '{"status":201}' }
    const keep = (store: Store, user: string, key: string, answer = kept.answer, at = AT) =>
      store.transaction(user, (tx) =>
        tx.answers.keep(key, { ...kept, answer }, { since: BEFORE, at }),
      )
    const find = (store: Store, user: string, key: string, since = BEFORE) =>
      store.transaction(user, (tx) => tx.answers.find(key, since))

    test('are found by their key, by their person, for their time', async () => {
      const { store, ann, bob } = await open()
      expect(await keep(store, ann, 'a')).toBe(true)
      expect(await find(store, ann, 'a')).toMatchObject(kept)
      for (const [user, key, since] of [
        [bob, 'a', BEFORE],
        [ann, 'b', BEFORE],
        [ann, 'a', AT],
      ] as const)
        expect(await find(store, user, key, since)).toBeUndefined()
      const later = new Date('2026-11-23T10:00:00Z')
      expect(await keep(store, ann, 'a', '{"status":204}', later)).toBe(true)
      expect(await find(store, ann, 'a', AT)).toMatchObject({ answer: '{"status":204}' })
    })

    test('are kept with what is written, or not at all', async () => {
      const { store, ann } = await open()
      const failing = store.transaction(ann, async (tx) => {
        await tx.answers.keep('a', kept, { since: BEFORE, at: AT })
        throw new Error('no')
      })
      await expect(failing).rejects.toThrow('no')
      expect(await find(store, ann, 'a')).toBeUndefined()
    })

    test('lose their content with a document that they mention, but not their key', async () => {
      const { store, ann, bob } = await open()
      const [gone, other] = [randomUUID(), randomUUID()]
      const about = (id: string) => `{"body":{"id":"${id}","title":"Milk"}}`
      for (const [user, key, id] of [
        [ann, 'gone', gone],
        [ann, 'other', other],
        [bob, 'gone', gone],
      ] as const)
        await keep(store, user, key, about(id))
      await store.transaction(ann, (tx) => tx.answers.dropAbout([gone]))
      expect(await find(store, ann, 'gone')).toMatchObject({ ...kept, answer: null })
      expect(await find(store, ann, 'other')).toMatchObject({ answer: about(other) })
      expect(await find(store, bob, 'gone')).toMatchObject({ answer: about(gone) })
    })

    test('are limited in bytes', async () => {
      const { store, ann, bob } = await open()
      const half = 'x'.repeat(MAX_KEPT_BYTES / 2)
      const asked = ['a', 'b', 'c'].map((key) => keep(store, ann, key, half))
      expect(await Promise.all(asked)).toEqual([true, true, false])
      expect(await find(store, ann, 'c')).toBeUndefined()
      expect(await keep(store, bob, 'c', half)).toBe(true)
    })
  })

  describe('the marks of the edits that a document has accepted', () => {
    const LARGEST = 2 ** 48 - 1
    async function marked(taken: readonly number[] = [LARGEST, 0, 7]) {
      const scene = await open()
      const { store, ann } = scene
      const [category, id] = [aCategory(), randomUUID()]
      await store.insert(ann, categories, category)
      const document = aTask({ id, category_id: category.id })
      const write = (state: Omit<Stored, 'seq'>) =>
        store.transaction(ann, (tx) => tx.write(tasks, [state]))
      await write({ ...live(document), taken })
      const read = async () => (await store.read(ann, tasks, [id])).get(id)!
      return { ...scene, id, category, document, write, read, taken }
    }

    test('are read as written, inside a transaction and outside', async () => {
      const { store, ann, id, document, taken, read } = await marked()
      const found = { seq: expect.any(Number), ...live(document), taken }
      expect(await read()).toEqual(found)
      const inside = await store.transaction(ann, (tx) => tx.read(tasks, [id]))
      expect(inside.get(id)).toEqual(found)
    })

    test('are those of its insert at first', async () => {
      const { store, ann } = await open()
      const task = aTask()
      const taken = [-(2 ** 49) + 1]
      await store.insert(ann, tasks, task, { taken })
      expect((await store.read(ann, tasks, [task.id])).get(task.id)).toMatchObject({ taken })
    })

    test('are replaced with their document', async () => {
      const { store, ann, id, document, write, read } = await marked()
      const other = aTask()
      await store.transaction(ann, (tx) =>
        tx.write(tasks, [
          { ...live(document), taken: [1] },
          { ...tombstone(other), taken: [2, 3] },
        ]),
      )
      const both = await store.read(ann, tasks, [id, other.id])
      expect([...both.values()].map(({ taken }) => taken).sort()).toEqual([[1], [2, 3]])
      await write(live(document))
      expect(await read()).not.toHaveProperty('taken')
    })

    test.each<[string, (store: Store, user: string) => Promise<string>]>([
      ['was inserted', inserted],
      ['was deleted', deleted],
      [
        'was written without them',
        async (store, user) => {
          const task = aTask()
          await store.transaction(user, (tx) => tx.write(tasks, [live(task)]))
          return task.id
        },
      ],
      [
        'was written with none',
        async (store, user) => {
          const task = aTask()
          await store.transaction(user, (tx) => tx.write(tasks, [{ ...live(task), taken: [] }]))
          return task.id
        },
      ],
    ])('are absent where a document %s', async (_how, make) => {
      const { store, ann } = await open()
      const id = await make(store, ann)
      expect((await store.read(ann, tasks, [id])).get(id)).not.toHaveProperty('taken')
    })

    test('survive every edit, and the deletion of its category', async () => {
      const { store, ann, id, category, read, taken } = await marked()
      const steps: [Resource, Edit][] = [
        [tasks, patch(id, { title: 'Oat milk', completed: true })],
        [tasks, removal(id)],
        [tasks, restoral(id)],
        [categories, removal(category.id)],
      ]
      for (const [resource, edit] of steps) {
        const { seq } = await read()
        expect(await store.edit(ann, resource, edit)).toBeDefined()
        const now = await read()
        expect(now.seq).toBeGreaterThan(seq)
        expect(now.taken).toEqual(taken)
      }
      expect((await read()).document).toMatchObject({ title: 'Oat milk', category_id: null })
    })

    test('are not in the feed', async () => {
      const { store, ann, id, document } = await marked()
      expect(unnumbered(await store.changes(ann, tasks, 0, 10))).toEqual([live(document)])
      const wire = { ...document, _deleted: false }
      expect(JSON.parse((await store.page(ann, tasks, 0, 10))!.documents)).toEqual([wire])
      expect((await store.frame(ann, 0))!.documents!.tasks).toEqual([wire])
      expect(JSON.parse((await store.find(ann, tasks, id))!.json)).toEqual(document)
    })
  })

  describe('changes', () => {
    test('are sorted oldest first, each document once in its current state, tombstones included', async () => {
      const { store, ann } = await open()
      const [a, b, c] = [aTask({ title: 'a' }), aTask({ title: 'b' }), aTask({ title: 'c' })]
      for (const task of [a, b, c]) await store.insert(ann, tasks, task)
      await store.edit(ann, tasks, patch(a.id, { title: 'again' }))
      await store.edit(ann, tasks, removal(b.id))
      expect(unnumbered(await store.changes(ann, tasks, 0, 10))).toEqual([
        live(c),
        live({ ...a, title: 'again', updated_at: EDITED }),
        tombstone({ ...b, updated_at: EDITED }),
      ])
    })

    test('start after the number and end at the limit', async () => {
      const { store, ann } = await open()
      for (let i = 0; i < 5; i++) await inserted(store, ann)
      const all = await store.changes(ann, tasks, 0, 10)
      expect(all).toHaveLength(5)
      expect(await store.changes(ann, tasks, 0, 5)).toEqual(all)
      expect(await store.changes(ann, tasks, 0, 2)).toEqual(all.slice(0, 2))
      expect(await store.changes(ann, tasks, all[1]!.seq, 2)).toEqual(all.slice(2, 4))
      expect(await store.changes(ann, tasks, all[3]!.seq, 2)).toEqual(all.slice(4))
      expect(await store.changes(ann, tasks, all[4]!.seq, 2)).toEqual([])
    })

    test('are of one user and one resource', async () => {
      const { store, ann, bob } = await open()
      const [task, category] = [await inserted(store, ann), await filed(store, ann)]
      await inserted(store, bob)
      const ids = async (resource: Resource) =>
        (await store.changes(ann, resource, 0, 10)).map(({ document }) => document.id)
      expect(await ids(tasks)).toEqual([task])
      expect(await ids(categories)).toEqual([category])
    })

    test('have the same versions as in other calls', async () => {
      const { store, ann } = await open()
      const { seq } = (await store.insert(ann, tasks, aTask()))!
      const [change] = await store.changes(ann, tasks, 0, 10)
      const read = await store.read(ann, tasks, [change!.document.id])
      expect(change).toEqual({ ...read.get(change!.document.id), seq })
    })
  })

  describe('page', () => {
    test('has the result of `changes` in wire form, and the number of the last document', async () => {
      const { store, ann } = await open()
      for (const write of [inserted, deleted, inserted, filed]) await write(store, ann)
      for (const resource of [tasks, categories]) {
        const changes = await store.changes(ann, resource, 0, 10)
        const page = (await store.page(ann, resource, 0, 10))!
        expect(JSON.parse(page.documents)).toEqual(changes.map(onTheWire))
        expect(page.last).toBe(changes.at(-1)!.seq)
        expect(page.count).toBe(changes.length)
        expect(page.feed).toEqual((await store.heads([ann])).get(ann))
      }
    })

    test('starts after the number and ends at the limit', async () => {
      const { store, ann } = await open()
      for (let i = 0; i < 5; i++) await inserted(store, ann)
      const all = await store.changes(ann, tasks, 0, 10)
      for (const [from, limit] of [
        [0, 5],
        [0, 2],
        [all[1]!.seq, 2],
        [all[3]!.seq, 2],
      ] as const) {
        const expected = all.filter(({ seq }) => seq > from).slice(0, limit)
        const { documents, last } = (await store.page(ann, tasks, from, limit))!
        expect(JSON.parse(documents)).toEqual(expected.map(onTheWire))
        expect(last).toBe(expected.at(-1)!.seq)
      }
    })

    test.each([
      ['after the last change', 1_000_000, 10],
      ['when none is asked for', 0, 0],
    ])('is empty and ends nowhere %s', async (_what, seq, limit) => {
      const { store, ann } = await open()
      await inserted(store, ann)
      const page = await store.page(ann, tasks, seq, limit)
      expect(page).toEqual({
        documents: '[]',
        count: 0,
        last: undefined,
        isLast: limit > 0,
        feed: { epoch: FIRST_EPOCH, seq: 1, branches: {}, horizons: {} },
      })
    })
  })

  describe('tombstones', () => {
    test('are left out of a page up to a number, which then has more of the others', async () => {
      const { store, ann } = await open()
      for (const write of [deleted, inserted, deleted, inserted, deleted]) await write(store, ann)
      const all = await store.changes(ann, tasks, 0, 10)
      const upTo = all[2]!.seq
      const wanted = all.filter(({ seq, deleted }) => !deleted || seq > upTo)
      const page = (await store.page(ann, tasks, 0, 3, upTo))!
      expect(JSON.parse(page.documents)).toEqual(wanted.map(onTheWire))
      expect(page).toMatchObject({ count: 3, last: wanted.at(-1)!.seq })
    })

    test('are gone after a purge, and the horizon is at the last of them', async () => {
      const { store, ann, bob } = await open()
      for (const user of [ann, bob])
        for (const write of [deleted, inserted, deleted, filed]) await write(store, user)
      const before = await store.changes(ann, tasks, 0, 10)
      const [first, kept, second] = before
      await purge(ann, second!.seq - 1)
      expect(await store.changes(ann, tasks, 0, 10)).toEqual([kept, second])
      expect(await store.read(ann, tasks, [first!.document.id])).toEqual(new Map())
      const { horizons, seq } = (await store.heads([ann])).get(ann)!
      const at = Date.parse(first!.document.updated_at)
      expect(horizons).toEqual({ tasks: { seq: first!.seq, at } })
      expect(await store.transaction(ann, async (tx) => tx.feed.horizons)).toEqual(horizons)
      await purge(ann, seq)
      const page = (await store.page(ann, tasks, 0, 10))!
      expect(page).toMatchObject({
        count: 1,
        feed: { seq, horizons: { tasks: { seq: second!.seq } } },
      })
      expect((await store.frame(ann, second!.seq))!.documents).toMatchObject({ categories: [{}] })
      expect(await store.changes(bob, tasks, 0, 10)).toHaveLength(3)
    })
  })

  describe('pageOf', () => {
    test('is a page of the documents in some buckets', async () => {
      const { store, ann, bob } = await open()
      for (let i = 0; i < 20; i++) await inserted(store, i % 4 ? ann : bob)
      await deleted(store, ann)
      const all = await store.changes(ann, tasks, 0, 30)
      const buckets = [...new Set(all.map(({ document }) => bucketOf(document.id)))].slice(0, 8)
      const those = all.filter(({ document }) => buckets.includes(bucketOf(document.id)))
      for (const [from, limit] of [
        [0, 30],
        [0, 3],
        [those[2]!.seq, 30],
      ] as const) {
        const expected = those.filter(({ seq }) => seq > from).slice(0, limit)
        const { documents, count, last, feed } = (await store.pageOf(
          ann,
          tasks,
          buckets,
          from,
          limit,
        ))!
        expect(JSON.parse(documents)).toEqual(expected.map(onTheWire))
        expect(last).toBe(expected.at(-1)!.seq)
        expect(count).toBe(expected.length)
        expect(feed).toEqual((await store.heads([ann])).get(ann))
      }
    })
  })

  describe('heads', () => {
    test('are the ends of the feeds of known users', async () => {
      const { store, ann, bob } = await open()
      await inserted(store, ann)
      const { seq } = (await store.insert(ann, tasks, aTask()))!
      const head = { epoch: FIRST_EPOCH, seq, branches: {}, horizons: {} }
      const heads = await store.heads([ann, bob, randomUUID()])
      expect(heads).toEqual(
        new Map([
          [ann, head],
          [bob, { epoch: FIRST_EPOCH, seq: 0, branches: {}, horizons: {} }],
        ]),
      )
      expect(await store.transaction(ann, async (tx) => tx.feed)).toEqual(head)
    })
  })

  describe('after a failover', () => {
    const numbers = async ({ store, ann }: Scene) => {
      const head = (await store.heads([ann])).get(ann)!
      const changes = await store.changes(ann, tasks, 0, 10)
      return { ...head, seqs: changes.map(({ seq }) => seq) }
    }

    test.each<[string, (scene: Scene) => Promise<unknown>]>([
      ['an insert', ({ store, ann }) => inserted(store, ann)],
      [
        'a transaction',
        async ({ store, ann }) =>
          store.transaction(ann, async (tx) => {
            await tx.write(tasks, [live(aTask())])
            expect(tx.feed).toMatchObject({ seq: 2 ** 32 + 1 })
            expect(tx.feed.epoch).not.toBe(FIRST_EPOCH)
          }),
      ],
    ])('%s begins another epoch, with numbers that nobody has seen', async (_what, write) => {
      const scene = await open()
      await inserted(scene.store, scene.ann)
      await failOver(scene.ann)
      const before = await numbers(scene)
      expect(before).toMatchObject({ epoch: FIRST_EPOCH, seq: 1, branches: {}, seqs: [1] })
      await write(scene)
      const after = await numbers(scene)
      const seq = 2 ** 32 + 1
      expect(after).toMatchObject({ seq, branches: { [FIRST_EPOCH]: 1 }, seqs: [1, seq] })
      expect(after.epoch).not.toBe(FIRST_EPOCH)
      await inserted(scene.store, scene.ann)
      expect(await numbers(scene)).toMatchObject({ epoch: after.epoch, seq: seq + 1 })
    })

    test('those of a second one follow, also where nothing was written in between', async () => {
      const scene = await open()
      await inserted(scene.store, scene.ann)
      for (const _ of [1, 2]) await failOver(scene.ann)
      await inserted(scene.store, scene.ann)
      const first = await numbers(scene)
      expect(first.seq).toBe(2 * 2 ** 32 + 1)
      await failOver(scene.ann)
      await inserted(scene.store, scene.ann)
      const { seq, branches } = await numbers(scene)
      expect(seq).toBe(3 * 2 ** 32 + 1)
      expect(branches).toEqual({ [FIRST_EPOCH]: 1, [first.epoch]: first.seq })
    })
  })

  describe('a frame', () => {
    test('has the changes of all resources after a number, and the head of the feed', async () => {
      const { store, ann, bob } = await open()
      await inserted(store, ann)
      const { seq: start } = (await store.insert(ann, tasks, aTask()))!
      for (const write of [filed, deleted, inserted]) await write(store, ann)
      await inserted(store, bob)
      const [changedTasks, [category]] = [
        await store.changes(ann, tasks, start, 10),
        await store.changes(ann, categories, start, 10),
      ]
      expect(await store.frame(ann, start)).toEqual({
        head: { epoch: FIRST_EPOCH, seq: changedTasks.at(-1)!.seq },
        documents: { tasks: changedTasks.map(onTheWire), categories: [onTheWire(category!)] },
      })
    })

    test('without changes has no documents, and is undefined for an unknown user', async () => {
      const { store, ann } = await open()
      const { seq } = (await store.insert(ann, tasks, aTask()))!
      const head = { epoch: FIRST_EPOCH, seq }
      expect(await store.frame(ann, seq)).toEqual({ head, documents: {} })
      expect(await store.frame(randomUUID(), 7)).toBeUndefined()
    })

    test('has no documents if there are too many', async () => {
      const { store, ann } = await open()
      const many = Array.from({ length: 101 }, () => aTask())
      await store.transaction(ann, (tx) => tx.write(tasks, many.map(live)))
      const { seq } = (await store.changes(ann, tasks, 0, 1))[0]!
      expect(Object.keys((await store.frame(ann, 0))!)).toEqual(['head'])
      expect((await store.frame(ann, seq))!.documents!.tasks).toHaveLength(100)
    })
  })

  test('what is older than the newest of each value is found in the order of changes', async () => {
    const { store, ann } = await open()
    const [one, other] = [await filed(store, ann), await filed(store, ann)]
    const documents = [one, other, one, one, other].map((category_id) => aTask({ category_id }))
    const [first, second, third, , fifth] = documents.map(({ id }) => id)
    await store.transaction(ann, (tx) => tx.write(tasks, documents.map(live)))
    const found = (ids: readonly string[], count: number) =>
      store.transaction(ann, async (tx) => {
        const older = await tx.olderThanNewest(tasks, 'category_id', ids, count)
        return older.map(({ document }) => document.id)
      })
    expect(await found([one, other], 1)).toEqual([first, second, third])
    expect(await found([one], 2)).toEqual([first])
    expect(await found([one, other], 3)).toEqual([])
    await store.edit(ann, tasks, patch(first!, { title: 'Bread' }))
    await store.edit(ann, tasks, removal(fifth!))
    expect(await found([one, other], 1)).toEqual([third, documents[3]!.id])
  })

  test('so is what has more characters together with all newer ones, of no other user', async () => {
    const { store, ann, bob } = await open()
    const length = 1_000
    const [bobs, gone, low, ...documents] = Array.from({ length: 6 }, (_, i) =>
      aTask({ priority: i === 2 ? 'low' : 'high', description: 'x'.repeat(length) }),
    ) as [Document, Document, Document, ...Document[]]
    await store.insert(bob, tasks, bobs)
    const found = await store.transaction(ann, async (tx) => {
      await tx.write(tasks, [live(low), ...documents.map(live), tombstone(gone)])
      const older = (count: number, characters: number) =>
        tx.olderThanNewest(tasks, 'priority', ['high'], count, characters)
      return Promise.all([
        older(0, 0),
        older(9, 9 * length),
        older(9, 2.5 * length),
        older(1, 9 * length),
      ])
    })
    const ids = found.map((older) => older.map(({ document }) => document.id))
    const [first, second] = documents.map(({ id }) => id)
    expect(unnumbered(found[0]!)).toEqual(documents.map(live))
    expect(ids.slice(1)).toEqual([[], [first, second], [first, second]])
  })

  describe('a placeholder', () => {
    async function placeheld() {
      const scene = await open()
      const id = randomUUID()
      const task = aTask({ category_id: id })
      await scene.store.transaction(scene.ann, async (tx) => {
        await tx.placehold(categories, [id])
        await tx.write(tasks, [live(task)])
      })
      return { ...scene, id, task }
    }

    test('is invisible to readers, and takes no number', async () => {
      const { store, ann, id, task } = await placeheld()
      expect(await store.find(ann, categories, id)).toBeUndefined()
      expect(await store.read(ann, categories, [id])).toEqual(new Map())
      expect(await store.transaction(ann, (tx) => tx.read(categories, [id]))).toEqual(new Map())
      expect(await store.changes(ann, categories, 0, 10)).toEqual([])
      expect((await store.page(ann, categories, 0, 10))!.documents).toBe('[]')
      const [change] = await store.changes(ann, tasks, 0, 10)
      const head = { epoch: FIRST_EPOCH, seq: change!.seq }
      expect(await store.heads([ann])).toEqual(
        new Map([[ann, { ...head, branches: {}, horizons: {} }]]),
      )
      expect(await store.frame(ann, 0)).toEqual({
        head,
        documents: { tasks: [{ ...task, _deleted: false }] },
      })
    })

    test('cannot be edited, or referred to by REST writes', async () => {
      const { store, ann, id, task } = await placeheld()
      const other = await inserted(store, ann)
      for (const edit of [patch(id, { name: 'Travel' }), removal(id), restoral(id)])
        await expectNothing(store, ann, () => store.edit(ann, categories, edit))
      await expectNothing(store, ann, () => store.insert(ann, tasks, aTask({ category_id: id })))
      const move = patch(other, { category_id: id })
      await expectNothing(store, ann, () => store.edit(ann, tasks, move))
      expect(await store.edit(ann, tasks, patch(task.id, { title: 'Bread' }))).toBeDefined()
    })

    test.each<[string, (store: Store, user: string, category: Document) => Promise<unknown>]>([
      ['insert', (store, user, category) => store.insert(user, categories, category)],
      [
        'write',
        (store, user, category) =>
          store.transaction(user, (tx) => tx.write(categories, [live(category)])),
      ],
    ])('is replaced by %s, and its tasks keep their reference', async (_way, fill) => {
      const { store, ann, id, task } = await placeheld()
      const category = aCategory({ id, name: 'Travel', color: '#0ea5e9' })
      await fill(store, ann, category)
      const changes = await store.changes(ann, categories, 0, 10)
      expect(unnumbered(changes)).toEqual([live(category)])
      expect(await store.changes(ann, tasks, changes[0]!.seq, 10)).toEqual([])
      expect((await store.read(ann, tasks, [task.id])).get(task.id)?.document).toEqual(task)
    })

    test('replaced by a deleted category clears the references of its tasks', async () => {
      const { store, ann, id, task } = await placeheld()
      await store.transaction(ann, (tx) => tx.write(categories, [tombstone(aCategory({ id }))]))
      const [change] = await store.changes(ann, categories, 0, 10)
      expect(await store.changes(ann, tasks, 0, 10)).toEqual([
        {
          seq: change!.seq + 1,
          ...live({ ...task, category_id: null, updated_at: justAfter(CREATED) }),
        },
      ])
    })

    test('replaces no existing document, live or deleted', async () => {
      const { store, ann } = await open()
      const ids = [await filed(store, ann), await deletedCategory(store, ann)]
      const before = await everything(store, ann)
      await store.transaction(ann, (tx) => tx.placehold(categories, ids))
      expect(await everything(store, ann)).toEqual(before)
    })

    test.each([
      ['another user', async ({ bob }: Scene) => bob],
      ['a failed transaction', async ({ ann }: Scene) => ann],
    ])('of %s cannot be referred to', async (_what, userOf) => {
      const scene = await open()
      const { store, ann } = scene
      const id = randomUUID()
      const user = await userOf(scene)
      const placeholding = store.transaction(user, async (tx) => {
        await tx.placehold(categories, [id])
        if (user === ann) throw new Error('no')
      })
      await placeholding.catch(() => {})
      const stray = live(aTask({ category_id: id }))
      await expect(store.transaction(ann, (tx) => tx.write(tasks, [stray]))).rejects.toThrow()
    })
  })

  describe('a category', () => {
    test.each(unusableCategories)(
      'that is %s cannot be referred to by `write`',
      async (_why, idOf) => {
        const scene = await open()
        const { store, ann } = scene
        const stray = aTask({ category_id: await idOf(scene) })
        const before = await everything(store, ann)
        for (const state of [live(stray), tombstone(stray)]) {
          const writing = store.transaction(ann, (tx) => tx.write(tasks, [live(aTask()), state]))
          await expect(writing).rejects.toThrow()
        }
        expect(await everything(store, ann)).toEqual(before)
      },
    )

    type Removal = (store: Store, user: string, category: Document) => Promise<unknown>
    const removals: [string, Removal][] = [
      ['edit', (store, user, { id }) => store.edit(user, categories, removal(id))],
      [
        'write',
        (store, user, category) =>
          store.transaction(user, (tx) =>
            tx.write(categories, [
              tombstone({ ...category, updated_at: EDITED }),
              live(aCategory({ name: 'Travel' })),
            ]),
          ),
      ],
    ]

    test.each(removals)(
      'deleted by %s clears the reference of each of its tasks',
      async (_way, remove) => {
        const { store, ann, bob } = await open()
        const category = aCategory()
        const category_id = category.id
        await store.insert(ann, categories, category)
        await store.insert(bob, categories, category)
        const [first, gone, loose] = [aTask({ category_id }), aTask({ category_id }), aTask()]
        const last = { ...aTask({ category_id }), updated_at: '2026-11-22T10:00:00.000Z' }
        for (const task of [first, gone, loose, last]) await store.insert(ann, tasks, task)
        await store.insert(bob, tasks, first)
        await store.edit(ann, tasks, removal(gone.id))
        const { seq: before } = (await store.heads([ann])).get(ann)!

        await remove(store, ann, category)

        const changed = await store.changes(ann, categories, before, 10)
        const head = changed.at(-1)!.seq
        expect(changed[0]).toMatchObject({ seq: before + 1, deleted: true })
        const loosened = (task: Document, updated_at: string) => ({
          ...task,
          category_id: null,
          updated_at,
        })
        expect(await store.changes(ann, tasks, before, 10)).toEqual([
          { seq: head + 1, ...live(loosened(first, EDITED)) },
          { seq: head + 2, ...live(loosened(last, justAfter(last.updated_at))) },
          { seq: head + 3, ...tombstone(loosened(gone, justAfter(EDITED))) },
        ])
        expect(unnumbered(await store.changes(bob, tasks, 0, 10))).toEqual([live(first)])
        await store.edit(ann, categories, restoral(category_id))
        expect(await store.changes(ann, tasks, head + 3, 10)).toEqual([])
      },
    )
  })

  describe('a deleted user', () => {
    test('has no transaction', async () => {
      const { store } = await open()
      const work = vi.fn(async () => {})
      await expect(store.transaction(randomUUID(), work)).rejects.toBeInstanceOf(UnknownUser)
      expect(work).not.toHaveBeenCalled()
    })

    test('writes nothing, and finds nothing', async () => {
      const { store } = await open()
      const [nobody, task] = [randomUUID(), aTask()]
      expect(await store.insert(nobody, tasks, task)).toBeUndefined()
      expect(await store.edit(nobody, tasks, patch(task.id, { title: 'a' }))).toBeUndefined()
      expect(await store.find(nobody, tasks, task.id)).toBeUndefined()
      expect(await store.read(nobody, tasks, [task.id])).toEqual(new Map())
      expect(await store.changes(nobody, tasks, 0, 10)).toEqual([])
      expect(await store.page(nobody, tasks, 0, 10)).toBeUndefined()
      expect(await store.pageOf(nobody, tasks, [0], 0, 10)).toBeUndefined()
    })
  })

  /**
   * One writer is held between its write and its commit. Then another one writes, as far as it can, and a
   * reader reads.
   */
  describe.each([
    ['one node', false],
    ['two nodes', true],
  ])('on %s', (_where, isOther) => {
    async function race() {
      const { store, ann } = await open()
      const other = isOther ? await createStore() : store
      const [started, gate] = [deferred(), deferred()]
      const hold = async () => {
        started.resolve()
        await gate.promise
      }
      return { store, other, ann, hold, started: started.promise, release: gate.resolve }
    }

    /** Gives a writer enough time to finish unless it is blocked. */
    async function respite(store: Store, user: string): Promise<void> {
      for (let i = 0; i < 20; i++) {
        await nextTurn()
        await store.changes(user, tasks, 0, 1)
      }
    }

    test.each<[string, (store: Store, user: string, id: string) => Promise<unknown>]>([
      ['edits', (store, user, id) => store.edit(user, tasks, patch(id, { title: 'Bread' }))],
      [
        'writes in a transaction',
        (store, user, id) =>
          store.transaction(user, (tx) => tx.write(tasks, [live(aTask({ id }))])),
      ],
      ['inserts', (store, user) => store.insert(user, tasks, aTask())],
    ])('a reader never overtakes a writer while another one %s', async (_what, write) => {
      const { store, other, ann, hold, started, release } = await race()
      const there = await inserted(store, ann)
      const first = aTask()
      const { seq: start } = (await store.heads([ann])).get(ann)!
      const held = store.transaction(ann, async (tx) => {
        await tx.write(tasks, [live(first)])
        await hold()
      })
      await started
      const writing = write(other, ann, there)
      await respite(other, ann)
      const early = await other.changes(ann, tasks, start, 10)
      release()
      await Promise.all([held, writing])
      const late = await other.changes(ann, tasks, early.at(-1)?.seq ?? start, 10)
      expect([...early, ...late]).toEqual(await store.changes(ann, tasks, start, 10))
      expect([...early, ...late].map(({ document }) => document.id)).toContain(first.id)
      expect([...early, ...late]).toHaveLength(2)
    })

    test('two writers never start from the same state', async () => {
      const { store, other, ann, hold, started, release } = await race()
      const id = await inserted(store, ann, { title: '0' })
      const held = store.transaction(ann, async (tx) => {
        const { document } = (await tx.read(tasks, [id])).get(id)!
        await hold()
        await tx.write(tasks, [live({ ...document, title: `${document.title}1` })])
      })
      await started
      const writing = other.transaction(ann, async (tx) => {
        const { document } = (await tx.read(tasks, [id])).get(id)!
        await tx.write(tasks, [live({ ...document, title: `${document.title}2` })])
      })
      await respite(other, ann)
      release()
      await Promise.all([held, writing])
      expect(await titles(store, ann)).toEqual(['012'])
    })

    test('a rolled-back transaction leaves no gap that stalls a reader', async () => {
      const { store, other, ann, hold, started, release } = await race()
      const [first, second] = [aTask({ title: 'first' }), aTask({ title: 'second' })]
      await store.insert(ann, tasks, first)
      const failing = store.transaction(ann, async (tx) => {
        await tx.write(tasks, [live(aTask()), tombstone(first)])
        await hold()
        throw new Error('no')
      })
      await started
      const writing = other.insert(ann, tasks, second)
      await respite(other, ann)
      const early = await other.changes(ann, tasks, 0, 10)
      release()
      await expect(failing).rejects.toThrow('no')
      const { seq } = (await writing)!
      const late = await other.changes(ann, tasks, early.at(-1)!.seq, 10)
      expect(unnumbered([...early, ...late])).toEqual([live(first), live(second)])
      expect(await other.heads([ann])).toEqual(
        new Map([[ann, { epoch: FIRST_EPOCH, seq, branches: {}, horizons: {} }]]),
      )
      expect(await other.changes(ann, tasks, seq, 10)).toEqual([])
    })
  })

  test('documents are read exactly as written', async () => {
    const { store, ann } = await open()
    await fc.assert(
      fc.asyncProperty(anyTask, fc.boolean(), async (fields, atOnce) => {
        const task = aTask(fields)
        if (atOnce) await store.insert(ann, tasks, task)
        else await store.transaction(ann, (tx) => tx.write(tasks, [live(task)]))
        const found = (await store.find(ann, tasks, task.id)) as Encoded
        expect(JSON.parse(found.json)).toEqual(task)
        expect(await store.changes(ann, tasks, found.seq - 1, 1)).toEqual([
          { seq: found.seq, ...live(task) },
        ])
      }),
      { numRuns: 60 },
    )
  })
}

type Scene = { store: Store; ann: string; bob: string }

const unusableCategories: [string, (scene: Scene) => Promise<string>][] = [
  ['unknown', async () => randomUUID()],
  ['deleted', async ({ store, ann }) => deletedCategory(store, ann)],
  ["another person's", async ({ store, bob }) => filed(store, bob)],
]

async function inserted(store: Store, user: string, fields = {}): Promise<string> {
  const task = aTask(fields)
  await store.insert(user, tasks, task)
  return task.id
}

async function deleted(store: Store, user: string): Promise<string> {
  const id = await inserted(store, user)
  await store.edit(user, tasks, removal(id))
  return id
}

async function filed(store: Store, user: string): Promise<string> {
  const category = aCategory()
  await store.insert(user, categories, category)
  return category.id
}

async function deletedCategory(store: Store, user: string): Promise<string> {
  const id = await filed(store, user)
  await store.edit(user, categories, removal(id))
  return id
}

async function expectNothing(
  store: Store,
  user: string,
  write: () => Promise<Encoded | undefined>,
): Promise<void> {
  const before = await everything(store, user)
  expect(await write()).toBeUndefined()
  expect(await everything(store, user)).toEqual(before)
}

const everything = (store: Store, user: string) =>
  Promise.all([tasks, categories].map((resource) => store.changes(user, resource, 0, 1_000)))

const titles = async (store: Store, user: string) =>
  (await store.changes(user, tasks, 0, 1_000)).map(({ document }) => document.title)

const onTheWire = ({ document, deleted }: Stored) => ({ ...document, _deleted: deleted })

const unnumbered = (changes: Stored[]) => changes.map(({ seq: _seq, ...change }) => change)

/** Increments the number in the title, in a transaction. */
export const countUp = (store: Store, user: string, id: string) =>
  store.transaction(user, async (tx) => {
    const { document } = (await tx.read(tasks, [id])).get(id)!
    await tx.write(tasks, [live({ ...document, title: String(Number(document.title) + 1) })])
  })

/** Increments the number in the title, by an edit of the version that was read. */
export async function increment(store: Store, user: string, id: string): Promise<void> {
  for (;;) {
    const { document, seq } = (await store.read(user, tasks, [id])).get(id)!
    const title = String(Number(document.title) + 1)
    if (await store.edit(user, tasks, patch(id, { title }, { ifSeq: [seq] }))) return
  }
}

const anyText = fc
  .string({ unit: 'binary', maxLength: 40 })
  .map((text) => text.replaceAll('\0', ''))
const anyMoment = fc
  .date({
    min: new Date('0001-01-01T00:00:00.000Z'),
    max: new Date('9999-12-31T23:59:59.999Z'),
    noInvalidDate: true,
  })
  .map((date) => date.toISOString())
const anyDay = anyMoment.map((moment) => moment.slice(0, 10))
const anyTime = anyMoment.map((moment) => moment.slice(11, 16))

const anyTask = fc.record({
  title: anyText,
  description: anyText,
  priority: fc.constantFrom('low', 'medium', 'high'),
  due_date: fc.option(anyDay),
  due_time: fc.option(anyTime),
  remind_at: fc.option(anyMoment),
  completed: fc.boolean(),
})
