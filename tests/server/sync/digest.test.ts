import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { Digest, resources, settle } from '../../../protocol/index.ts'
import { compare } from '../../../server/sync/digest.ts'
import { type Store, UnknownUser } from '../../../server/sync/store.ts'
import { memoryStore } from '../../support/memory-store.ts'

const { tasks } = resources
const NOW = '2026-11-22T08:00:00.000Z'
const LATER = '2026-11-22T09:00:00.000Z'
const user = randomUUID()
/** More than one page. */
const COUNT = 600

async function storeWithTasks() {
  const store = memoryStore()
  store.addUser(user)
  const digest = new Digest(tasks)
  const ids: string[] = []
  for (let i = 0; i < COUNT; i++) {
    const task = settle(tasks, { id: randomUUID(), title: `Task ${i}` }, undefined, NOW)
    await store.insert(user, tasks, task)
    digest.add(task)
    ids.push(task.id)
  }
  const from = { id: '1', lwt: COUNT }
  const held = { from, digest: digest.total, revision: tasks.revision, replica: {} }
  return { store, ids, held }
}

test('what is read in several pages is compared as one state', async () => {
  const { store, held } = await storeWithTasks()
  expect(await compare(store, user, tasks, held)).toEqual({ result: 'equal' })
})

test.for<[what: string, nth: number, edit: object]>([
  ['an edit of a task that was read', 0, { action: 'patch', fields: { title: 'Ferry' } }],
  [
    'an edit of a task that is still to be read',
    COUNT - 1,
    { action: 'patch', fields: { title: 'Ferry' } },
  ],
  ['a deletion of a task that was read', 0, { action: 'delete', fields: {} }],
  ['a deletion of a task that is still to be read', COUNT - 1, { action: 'delete', fields: {} }],
])('%s between two pages is no difference', async ([_what, nth, edit]) => {
  const { store, ids, held } = await storeWithTasks()
  let pages = 0
  const changing: Store = {
    ...store,
    async page(...args) {
      const page = await store.page(...args)
      if (args[2] === 0 && pages++ === 0)
        await store.edit(user, tasks, { ...edit, id: ids[nth]!, now: LATER } as never)
      return page
    },
  }
  expect(await compare(changing, user, tasks, held)).toEqual({ result: 'behind' })
  expect(pages).toBe(1)
})

test('a client that is behind costs one read', async () => {
  const { store, held } = await storeWithTasks()
  let pages = 0
  const counting: Store = {
    ...store,
    page(...args) {
      pages++
      return store.page(...args)
    },
  }
  const behind = { ...held, from: { id: '1', lwt: COUNT - 1 } }
  expect(await compare(counting, user, tasks, behind)).toEqual({ result: 'behind' })
  expect(pages).toBe(1)
})

test('somebody who does not exist has nothing to compare', async () => {
  const { store, held } = await storeWithTasks()
  await expect(compare(store, randomUUID(), tasks, held)).rejects.toThrow(UnknownUser)
})
