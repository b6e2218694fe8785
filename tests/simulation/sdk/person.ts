import type { RxCollection } from 'rxdb'
import { type Document, type Resource, resources, type Unsettled } from '../../../protocol/index.ts'
import type { State } from '../../../server/sync/judge.ts'
import type { Chance } from '../chance.ts'
import { type Ledger, TYPED } from '../ledger.ts'
import type { Timeline } from '../timeline.ts'
import type { AppTab, SdkDevice } from './device.ts'

interface Surroundings {
  timeline: Timeline
  ledger: Ledger
  users: readonly string[]
  /** Ids that several devices and users choose for new documents. */
  sharedIds: readonly string[]
  troubles: ReadonlySet<Trouble>
}

const ACTS = {
  add_task: 8,
  edit_task: 12,
  complete_task: 3,
  file_task: 4,
  delete_task: 3,
  restore_task: 2,
  make_anew: 1,
  blank_a_title: 2,
  add_category: 3,
  rename_category: 3,
  delete_category: 1,
  edit_profile: 2,
  see_to_a_rejection: 2,
  await_sync: 2,
  verify: 2,
  wake: 1,
  open_a_tab: 2,
  close_a_tab: 1,
  kill_a_tab: 2,
  kill: 2,
  set_clock: 1,
  bad_write: 5,
  bad_reads: 1,
  go_offline: 2,
  sign_out: 2,
  sign_in_again: 6,
  end_sessions: 0.3,
  pause: 0.5,
  resume: 3,
  sleep: 1,
}
type Act = keyof typeof ACTS

/** Faults that occur only in some seeds, so that each one also occurs without the others. */
const TROUBLES = {
  disk: ['bad_write', 'bad_reads'],
  kills: ['kill', 'kill_a_tab'],
  clock: ['set_clock'],
  sessions: ['sign_out', 'end_sessions'],
  pauses: ['pause', 'close_a_tab', 'go_offline'],
  sleep: ['sleep'],
  slow_lines: [],
  firewalls: [],
} satisfies Record<string, readonly Act[]>
export type Trouble = keyof typeof TROUBLES

export function someTroubles(chance: Chance): ReadonlySet<Trouble> {
  const names = Object.keys(TROUBLES) as Trouble[]
  return new Set(names.filter(() => chance.happens(0.7)))
}

/** A user at a device with the real SDK, under faults. */
export function useSdkDevice(device: SdkDevice, surroundings: Surroundings, until: number): void {
  const { timeline, ledger, sharedIds, users, troubles } = surroundings
  const { chance } = timeline
  const { watch } = device
  const spared = Object.entries(TROUBLES).filter(([name]) => !troubles.has(name as Trouble))
  const weights = {
    ...ACTS,
    ...Object.fromEntries(spared.flatMap(([, acts]) => acts.map((act) => [act, 0]))),
  }

  device.open()
  later()

  function later(): void {
    timeline.after(chance.between(30, 700), () => {
      if (timeline.now >= until) return
      const tab = device.someTab()
      const act = chance.weighted(weights)
      if (device.tabs.length === 0) device.open()
      else if (tab && !tab.user && chance.happens(0.7)) acts.sign_in_again(tab)
      else if (tab) acts[act](tab)
      later()
    })
  }

  const acts: Record<Act, (tab: AppTab) => void> = {
    add_task(tab) {
      const { user } = tab
      if (!user) return
      const id = chance.happens(0.15) ? chance.one(sharedIds) : chance.uuid()
      if (watch.held(user, 'tasks').some(({ document }) => document.id === id)) return
      if (sharedIds.includes(id)) ledger.revives(user, 'tasks', id)
      insert(tab, 'tasks', { id, title: words(), category_id: someCategory(tab) })
    },
    edit_task: (tab) => edit(tab, 'tasks', () => ({ [chance.one(TYPED.tasks!)]: words() })),
    complete_task: (tab) => edit(tab, 'tasks', ({ completed }) => ({ completed: !completed })),
    file_task(tab) {
      const category_id = someCategory(tab)
      edit(tab, 'tasks', () => ({ category_id, priority: 'high' }))
    },
    blank_a_title: (tab) => edit(tab, 'tasks', () => ({ title: ' ', description: words() })),
    delete_task: (tab) => remove(tab, 'tasks'),
    delete_category: (tab) => remove(tab, 'categories'),
    restore_task(tab) {
      const one = some(tab, 'tasks', true)
      if (!one) return
      const { id } = one.document
      ledger.revives(tab.user!, 'tasks', id)
      write(tab, 'tasks', id, {}, () => tab.client!.tasks.restore(id))
    },
    make_anew(tab) {
      const one = some(tab, 'tasks', true)
      if (!one) return
      ledger.revives(tab.user!, 'tasks', one.document.id)
      ledger.knows(one.document)
      insert(tab, 'tasks', { id: one.document.id, title: words() })
    },
    add_category: (tab) => insert(tab, 'categories', { id: chance.uuid(), name: words() }),
    rename_category: (tab) => edit(tab, 'categories', () => ({ name: words() })),
    edit_profile: (tab) => edit(tab, 'profile', () => ({ [chance.one(TYPED.profile!)]: words() })),
    see_to_a_rejection(tab) {
      const [row] = tab.rejected
      if (!row || !tab.user) return
      ledger.knows(row.document)
      if (chance.happens(0.5)) return attempt(tab, 'discards a rejected edit', () => row.discard())
      ledger.revives(tab.user, row.resource, row.id)
      // The retry replaces the current document.
      const now = watch.held(tab.user, row.resource).find(({ document }) => document.id === row.id)
      ledger.knows(now?.document ?? {})
      const isDeletion = row.document._deleted
      const field = row.resource === 'tasks' ? 'title' : 'name'
      const corrections = isDeletion ? {} : { [field]: words() }
      write(tab, row.resource, row.id, corrections, () => row.retry(corrections))
    },
    await_sync(tab) {
      if (!tab.user) return
      const { sync } = tab.client!
      attempt(tab, 'awaits sync', () =>
        watch.awaits(tab, () => sync.awaitInSync({ timeout: chance.between(500, 8_000) })),
      )
    },
    verify(tab) {
      if (!tab.user) return
      const { sync } = tab.client!
      attempt(tab, 'verifies', () => sync.verify({ timeout: chance.between(500, 8_000) }))
    },
    wake: (tab) => tab.client!.sync.wake(),
    open_a_tab() {
      if (device.hasTabs && device.tabs.length < 3) device.open()
    },
    close_a_tab: (tab) => void tab.close(),
    kill_a_tab: (tab) => tab.kill(),
    kill: () => device.kill(),
    set_clock: () => device.setClock(),
    bad_write: () => device.disk.plan(),
    bad_reads: () => device.disk.planFailingReads(),
    go_offline() {
      device.goOnline(false)
      timeline.after(chance.between(500, 6_000), () => device.goOnline(true))
    },
    sign_out: (tab) => signOut(tab, chance.one([undefined, undefined, undefined, true, false])),
    sign_in_again(tab) {
      const isOver = tab.state?.status === 'signed_out'
      if (tab.user && !isOver) return
      signIn(tab, tab.user ?? (chance.happens(0.8) ? device.owner : chance.one(users)))
    },
    end_sessions: () => device.dependencies.accounts.endAllOf(device.owner),
    pause: (tab) => tab.user && attempt(tab, 'pauses', () => tab.client!.sync.pause()),
    sleep(tab) {
      // A browser does not suspend a tab that holds a lock.
      if (!device.hasTabs) tab.sleep(chance.between(500, 6_000))
    },
    resume: (tab) => tab.user && attempt(tab, 'resumes', () => tab.client!.sync.resume()),
  }

  function some(tab: AppTab, resource: string, deleted = false): State | undefined {
    if (!tab.user) return undefined
    const those = watch.held(tab.user, resource).filter((one) => one.deleted === deleted)
    return those.length > 0 ? chance.one(those) : undefined
  }

  function someCategory(tab: AppTab): string | null {
    return (chance.happens(0.7) && some(tab, 'categories')?.document.id) || null
  }

  function words(): string {
    return `w${timeline.history.length} of ${device.name}`
  }

  function insert(tab: AppTab, resource: string, document: Unsettled): void {
    if (!tab.user) return
    write(tab, resource, document.id, document, () =>
      collectionOf(tab, resource).insert(document as never),
    )
  }

  function edit(
    tab: AppTab,
    resource: string,
    change: (document: Document) => Record<string, unknown>,
  ): void {
    const one = some(tab, resource)
    if (!one) return
    const { id } = one.document
    const changes = change(one.document)
    write(tab, resource, id, changes, async () => {
      const document = await collectionOf(tab, resource).findOne(id).exec()
      await document?.incrementalModify((current: Document) => {
        // The user has seen the values on the device at that moment.
        ledger.knows(pick(current, Object.keys(changes)))
        return { ...current, ...changes }
      })
      if (!document) throw new Error('it is not there any more')
    })
  }

  function remove(tab: AppTab, resource: string): void {
    const one = some(tab, resource)
    if (!one) return
    const { id } = one.document
    ledger.knows(one.document)
    write(tab, resource, id, {}, async () => {
      const document = await collectionOf(tab, resource).findOne(id).exec()
      const removed = await document?.incrementalRemove()
      ledger.knows(removed?.toJSON() ?? {})
    })
  }

  /** A write that resolved is stored. After a failure or a killed tab, it may be stored or not. */
  function write(
    tab: AppTab,
    resource: string,
    id: string,
    values: Readonly<Record<string, unknown>>,
    run: () => Promise<unknown>,
  ): void {
    const user = tab.user!
    const ends = watch.begins(user, resource, id)
    tab.tell(`writes ${resource} ${id.slice(0, 4)} ${JSON.stringify(values)}`)
    tab.whenKilled(() => ends(false))
    attempt(tab, `the write of ${id.slice(0, 4)}`, async () => {
      try {
        await run()
        ledger.types(user, values, {})
        ends(true)
      } catch (error) {
        ends(false)
        throw error
      }
    })
  }

  function signIn(tab: AppTab, user: string): void {
    const { client } = tab
    if (!client || tab.isBusy) return
    occupy(tab, `signs ${user.slice(0, 4)} in`, async () => {
      await client.session.signIn({ username: user, password: 'secret' })
      // Before this, discarded documents may still be deleted.
      watch.keeps(user)
    })
  }

  function signOut(tab: AppTab, keepData: boolean | undefined): void {
    const { client, user } = tab
    if (!client || !user || tab.isBusy) return
    if (keepData === false) watch.givesUp(user)
    ledger.count('sign-outs')
    const options = keepData === undefined ? {} : { keepData }
    occupy(tab, `signs out with ${keepData}`, () => client.session.signOut(options))
  }
}

/** Runs one operation at a time, like a modal dialog. */
export function occupy(tab: AppTab, what: string, run: () => Promise<unknown>): void {
  tab.isBusy = true
  attempt(tab, what, () =>
    run().finally(() => {
      tab.isBusy = false
    }),
  )
}

/** Runs an operation that may fail. Broken promises are detected elsewhere. */
export function attempt(tab: AppTab, what: string, run: () => Promise<unknown>): void {
  tab.tell(what)
  const failed = (error: unknown) => tab.isAlive && tab.tell(`${what} FAILED: ${error}`)
  try {
    run().catch(failed)
  } catch (error) {
    failed(error) // the collection may have been deleted with the account
  }
}

function collectionOf(tab: AppTab, resource: string): RxCollection {
  return tab.client![resource as 'tasks'] as unknown as RxCollection
}

function pick(document: Document, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, document[name]]))
}

export const WRITABLE = Object.values<Resource>(resources).filter(({ readOnly }) => !readOnly)
