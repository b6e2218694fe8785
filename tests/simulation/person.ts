import type { Document, Unsettled } from '../../protocol/index.ts'
import type { State } from '../../server/sync/judge.ts'
import type { Stored } from '../../server/sync/store.ts'
import { type Ledger, TYPED } from './ledger.ts'
import type { Caller, Network } from './network.ts'
import type { Request } from './node.ts'
import type { Replica } from './replica.ts'
import type { Timeline } from './timeline.ts'

export interface Surroundings {
  timeline: Timeline
  ledger: Ledger
  network: Network
  /** Ids that several devices and users choose for new documents. */
  sharedIds: readonly string[]
}

type Act = keyof typeof ACTS

const ACTS = {
  add_task: 7,
  edit_task: 12,
  complete_task: 4,
  file_task: 5,
  delete_task: 3,
  restore_task: 2,
  make_anew: 1,
  blank_a_title: 2,
  file_under_nothing: 1,
  add_category: 3,
  rename_category: 3,
  delete_category: 1,
  edit_profile: 2,
  crash: 1,
  go_offline: 1,
}

/** A user at a device, who acts at random. */
export function useDevice(device: Replica, surroundings: Surroundings, until: number): void {
  const { timeline, ledger, sharedIds } = surroundings
  const { chance } = timeline
  const { user } = device

  function later() {
    timeline.after(chance.between(50, 1_200), () => {
      if (timeline.now >= until) return
      acts[chance.weighted(ACTS)]()
      later()
    })
  }

  const acts: Record<Act, () => void> = {
    add_task() {
      const id = chance.happens(0.15) ? chance.one(sharedIds) : chance.uuid()
      if (device.documents('tasks').some(({ document }) => document.id === id)) return
      if (sharedIds.includes(id)) ledger.revives(user, 'tasks', id)
      type('tasks', undefined, { id, title: words(), category_id: someCategory() })
    },
    edit_task: () => edit('tasks', () => ({ [chance.one(TYPED.tasks!)]: words() })),
    complete_task: () => edit('tasks', ({ completed }) => ({ completed: !completed })),
    file_task: () =>
      edit('tasks', () => ({
        category_id: someCategory(),
        priority: chance.one(['low', 'high']),
      })),
    blank_a_title: () => edit('tasks', () => ({ title: ' ', description: words() })),
    // The category will be rejected, so the task refers to a document that never arrives.
    file_under_nothing() {
      const category_id = chance.uuid()
      type('categories', undefined, { id: category_id, name: ' ' })
      type('tasks', undefined, { id: chance.uuid(), title: words(), category_id })
    },
    delete_task: () => remove('tasks'),
    delete_category: () => remove('categories'),
    restore_task() {
      const one = some('tasks', true)
      if (!one) return
      ledger.revives(user, 'tasks', one.document.id)
      type('tasks', one.document, { ...one.document, title: words() })
    },
    make_anew() {
      const one = some('tasks', true)
      if (!one) return
      ledger.revives(user, 'tasks', one.document.id)
      ledger.knows(one.document)
      type('tasks', undefined, { id: one.document.id, title: words() })
    },
    add_category: () => type('categories', undefined, { id: chance.uuid(), name: words() }),
    rename_category: () => edit('categories', () => ({ name: words() })),
    edit_profile: () => edit('profile', () => ({ [chance.one(TYPED.profile!)]: words() })),
    crash: () => device.crash(),
    go_offline() {
      device.goOnline(false)
      timeline.after(chance.between(500, 9_000), () => device.goOnline(true))
    },
  }

  function some(resource: string, deleted = false): State | undefined {
    const those = device.documents(resource).filter((one) => one.deleted === deleted)
    return those.length > 0 ? chance.one(those) : undefined
  }

  const someCategory = () => (chance.happens(0.7) && some('categories')?.document.id) || null
  const words = () => `w${timeline.history.length} of ${device.name}`

  function edit(resource: string, change: (document: Document) => Record<string, unknown>): void {
    const one = some(resource)
    if (one) type(resource, one.document, { ...one.document, ...change(one.document) })
  }

  function type(resource: string, over: Document | undefined, next: Unsettled): void {
    const names = TYPED[resource]!.filter((name) => next[name] !== over?.[name])
    const typed = Object.fromEntries(
      names.filter((name) => name in next).map((name) => [name, next[name]]),
    )
    ledger.types(user, typed, over ?? {})
    device.write(resource, next)
  }

  function remove(resource: string): void {
    const one = some(resource)
    if (!one) return
    ledger.knows(one.document)
    device.write(resource, one.document, true)
  }

  later()
}

/**
 * A user with a REST client, who edits only the version that was just read.
 *
 * @returns a function that tells whether the last request has been answered
 */
export function useRest(caller: Caller, surroundings: Surroundings, until: number): () => boolean {
  const { timeline, ledger, network } = surroundings
  const { chance } = timeline
  let isDone = false
  void work()
  return () => isDone

  async function work() {
    while (timeline.now < until) {
      await timeline.pause(chance.between(200, 2_000))
      await once()
    }
    isDone = true
  }

  async function once(): Promise<void> {
    const act = chance.weighted({ create: 3, patch: 6, delete: 1, restore: 1, put_back: 2 })
    if (act === 'create') {
      const input = { id: chance.uuid(), title: words() }
      ledger.types(caller.user, { title: input.title }, {})
      await insist({ kind: 'create', resource: 'tasks', input })
      return
    }
    if (act === 'put_back') {
      const entry = await someOf('conflicts', false)
      if (!entry) return
      ledger.count('values put back')
      // The user sees the current values, and the values that will replace them.
      ledger.knows(entry.document.kept as Record<string, unknown>)
      const { resource, document_id } = entry.document
      ledger.revives(caller.user, resource as string, document_id as string)
      await insist({ kind: 'put_back', id: entry.document.id })
      return
    }
    const resource = chance.one(['tasks', 'categories'])
    const one = await someOf(resource, act === 'restore')
    if (!one) return
    const fields = act === 'patch' ? { [chance.one(TYPED[resource]!)]: words() } : {}
    const { id } = one.document
    // Before the answer: if that is lost, the retry may be rejected although the first request succeeded.
    ledger.types(caller.user, fields, one.document)
    if (act === 'delete') ledger.knows(one.document)
    if (act === 'restore') ledger.revives(caller.user, resource, id)
    const answer = await insist({ kind: act, resource, id, fields, seq: one.seq })
    if ((answer as { outcome: string }).outcome !== 'edited') ledger.knows(fields)
  }

  async function someOf(resource: string, deleted: boolean): Promise<Stored | undefined> {
    const all = (await insist({ kind: 'list', resource })) as Stored[]
    const those = all.filter((one) => one.deleted === deleted)
    return those.length > 0 ? chance.one(those) : undefined
  }

  /** Repeats the request until there is an answer. */
  async function insist(request: Request): Promise<unknown> {
    for (;;) {
      const answer = await network.ask(caller, request)
      if (answer !== undefined) return answer
      await timeline.pause(300)
    }
  }

  function words(): string {
    return `w${timeline.history.length} of ${caller.name}`
  }
}
