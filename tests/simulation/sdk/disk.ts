import type { Document } from '../../../protocol/index.ts'
import type { State } from '../../../server/sync/judge.ts'
import type { Timeline } from '../timeline.ts'

export interface Place {
  databaseName: string
  collectionName: string
}

/** A tab that uses the disk. */
export interface Tab {
  readonly name: string
  readonly isAlive: boolean
  kill(): void
}

/** A row as written by RxDB. */
export interface Row {
  document: { id: string; _deleted: boolean; [name: string]: unknown }
}

/** The context of such a write, which is not one of an edit. */
export const UNNOTICED = 'replication-fault'

/** The storage of one collection in one tab, past the disk: nobody notices a write. */
export type RawWrite = (rows: { previous: object; document: object }[]) => Promise<unknown>

interface Result {
  error: { documentId: string }[]
}

/** How a write fails: the part that is stored anyway, and whether the tab is killed. */
const FAULTS = {
  fails: { kept: 'none', kills: false },
  fails_half_way: { kept: 'half', kills: false },
  fails_when_done: { kept: 'all', kills: false },
  dies: { kept: 'none', kills: true },
  dies_half_way: { kept: 'half', kills: true },
  dies_when_done: { kept: 'all', kills: true },
} as const
type Fault = keyof typeof FAULTS

/** The contents of a disk. */
export interface Contents {
  /** The names of the databases, possibly repeated. */
  databases(): Iterable<string>
  documents(place: Place): Iterable<Row['document']>
  /** Frees its resources. */
  close?(): void
}

export interface Watcher {
  /** Rows were stored. */
  written(tab: Tab, place: Place, rows: readonly Row[], context: string): void
  /** A write has failed. */
  failed(): void
  /** Rows were stored, but no running tab knows of them. */
  orphaned(place: Place, rows: readonly Row[]): void
  /** A collection is about to be deleted. */
  removing(place: Place): void
}

/**
 * The storage of one device. It survives the tabs and serializes the operations of each collection. While it
 * is bad, it is slow or fails, once or for a while, possibly in the middle of a write.
 */
export class Disk {
  /** The states of RxDB's memory storage, by its own key. */
  readonly states = new Map<string, { documents: Map<string, Row['document']> }>()
  readonly contents: Contents
  isBad = true
  /** By the tab that uses it and the collection. */
  private readonly raw = new Map<string, RawWrite>()
  private readonly timeline: Timeline
  private readonly name: string
  private readonly watcher: Watcher
  private readonly queues = new Map<string, Promise<unknown>>()
  private next: { fault: Fault; after: number; times: number; isUnheard: boolean } | undefined
  private readsFailUntil = 0

  /** @param contents the default is those of RxDB's memory storage */
  constructor(timeline: Timeline, name: string, watcher: Watcher, contents?: Contents) {
    this.contents = contents ?? contentsOf(this.states)
    this.timeline = timeline
    this.name = name
    this.watcher = watcher
  }

  /** Plans a fault of one of the next writes, and possibly of some after it. */
  plan(): void {
    const { chance } = this.timeline
    const fault = chance.weighted<Fault>({
      fails: 5,
      fails_half_way: 4,
      fails_when_done: 4,
      dies: 1,
      dies_half_way: 2,
      dies_when_done: 2,
    })
    const times = chance.happens(0.7) ? 1 : chance.between(2, 12)
    this.next = { fault, after: chance.between(0, 8), times, isUnheard: chance.happens(0.5) }
  }

  planFailingReads(): void {
    this.readsFailUntil = this.timeline.now + this.timeline.chance.between(50, 800)
  }

  heal(): void {
    this.isBad = false
    this.next = undefined
    this.readsFailUntil = 0
  }

  opened(tab: Tab, place: Place, write: RawWrite): void {
    this.raw.set(`${tab.name} ${keyOf(place)}`, write)
  }

  /** Silently changes a stored document, as a failing chip does. */
  async corrupt(tab: Tab, place: Place, id: string, fields: object): Promise<void> {
    const previous = [...this.contents.documents(place)].find((one) => one.id === id)!
    const document = { ...previous, ...fields }
    await this.raw.get(`${tab.name} ${keyOf(place)}`)!([{ previous, document }])
  }

  /** The users with documents on it. */
  people(): string[] {
    const users = [...this.contents.databases()].filter((name) => /^app-[\da-f-]{36}$/.test(name))
    return [...new Set(users.map((name) => name.slice('app-'.length)))]
  }

  /** The documents of a user in a collection, tombstones included. */
  documents(place: Place): Map<string, State> {
    const held = new Map<string, State>()
    for (const kept of this.contents.documents(place)) held.set(kept.id, stateOf(kept))
    return held
  }

  async read(tab: Tab, place: Place, what: string): Promise<void> {
    await whileAlive(tab, this.queues.get(keyOf(place)) ?? Promise.resolve())
    if (!tab.isAlive) return new Promise(() => {})
    if (this.timeline.now >= this.readsFailUntil || !this.timeline.chance.happens(0.5)) return
    this.timeline.tell(this.name, `DISK: ${what} of ${nameOf(place)} fails`)
    throw new Error('the disk does not read')
  }

  write<T extends Result>(
    tab: Tab,
    place: Place,
    rows: readonly Row[],
    context: string,
    run: (rows: readonly Row[], isUnheard: boolean) => Promise<T>,
  ): Promise<T> {
    return this.inTurn(tab, place, () => this.writeNow(tab, place, rows, context, run))
  }

  /** A write whose steps each go through `strike`. */
  pass<T extends Result>(
    tab: Tab,
    place: Place,
    rows: readonly Row[],
    context: string,
    run: () => Promise<T>,
  ): Promise<T> {
    return this.inTurn(tab, place, async () => {
      const result = await run()
      this.kept(tab, place, rows, context, result)
      return result
    })
  }

  /** One step of a write, which may fail before it, after it or in the middle. */
  strike(tab: Tab, apply: () => unknown, applyHalf: () => unknown): unknown {
    if (!tab.isAlive) throw new Error('killed')
    const planned = this.takeFault()
    if (!planned) return apply()
    const { fault } = planned
    const { kept, kills } = FAULTS[fault]
    this.watcher.failed()
    this.timeline.tell(this.name, `DISK: ${fault}`)
    if (kept === 'all') apply()
    if (kept === 'half') applyHalf()
    if (kills) tab.kill()
    throw new Error('the disk is full')
  }

  removing(place: Place): void {
    this.watcher.removing(place)
  }

  private inTurn<T>(tab: Tab, place: Place, run: () => Promise<T>): Promise<T> {
    const key = keyOf(place)
    const before = this.queues.get(key) ?? Promise.resolve()
    const { chance } = this.timeline
    const done = before.then(async () => {
      if (this.isBad && chance.happens(0.15)) await this.timeline.pause(chance.between(1, 120))
      if (!tab.isAlive) throw new Error('killed')
      return run()
    })
    this.queues.set(
      key,
      done.catch(() => {}),
    )
    return whileAlive(tab, done)
  }

  private kept(
    tab: Tab,
    place: Place,
    rows: readonly Row[],
    context: string,
    { error }: Result,
  ): void {
    const refused = new Set(error.map(({ documentId }) => documentId))
    const kept = rows.filter(({ document }) => !refused.has(document.id))
    if (kept.length > 0) this.watcher.written(tab, place, kept, context)
  }

  async remove(tab: Tab, place: Place): Promise<void> {
    await this.read(tab, place, 'remove')
    const planned = this.takeFault()
    if (planned) {
      this.timeline.tell(this.name, `DISK: removal of ${nameOf(place)} ${planned.fault}`)
      await whileAlive(tab, hit(tab, planned.fault))
    }
    this.watcher.removing(place)
  }

  private async writeNow<T extends Result>(
    tab: Tab,
    place: Place,
    rows: readonly Row[],
    context: string,
    run: (rows: readonly Row[], isUnheard: boolean) => Promise<T>,
  ): Promise<T> {
    const planned = this.takeFault()
    const keep = async (some: readonly Row[], isUnheard = false) => {
      const result = await run(some, isUnheard)
      this.kept(tab, place, some, context, result)
      return result
    }
    if (!planned) return keep(rows)
    const { kept } = FAULTS[planned.fault]
    const count = { none: 0, half: Math.ceil(rows.length / 2), all: rows.length }[kept]
    this.watcher.failed()
    this.timeline.tell(
      this.name,
      `DISK: ${planned.fault} at ${nameOf(place)}, ${count} of ${rows.length} rows kept`,
    )
    if (count > 0) await keep(rows.slice(0, count), planned.isUnheard)
    if (count > 0 && planned.isUnheard && FAULTS[planned.fault].kills)
      this.watcher.orphaned(place, rows.slice(0, count))
    return hit(tab, planned.fault)
  }

  private takeFault() {
    const { next } = this
    if (!next || next.after-- > 0) return undefined
    if (--next.times === 0) this.next = undefined
    return next
  }
}

function contentsOf(states: Disk['states']): Contents {
  return {
    databases: () => [...states.keys()].map((key) => key.split('--memory--')[0]!),
    *documents({ databaseName, collectionName }) {
      const prefix = `${databaseName}--memory--${collectionName}--memory--`
      for (const [key, { documents }] of states)
        if (key.startsWith(prefix)) yield* documents.values()
    },
  }
}

async function hit(tab: Tab, fault: Fault): Promise<never> {
  if (FAULTS[fault].kills) tab.kill()
  throw new Error('the disk is full')
}

/** Never resolves for a killed tab, while the disk continues. */
function whileAlive<T>(tab: Tab, work: Promise<T>): Promise<T> {
  const never = new Promise<never>(() => {})
  return work.then(
    (result) => (tab.isAlive ? result : never),
    (error) => (tab.isAlive ? Promise.reject(error) : never),
  )
}

/** A row without RxDB's metadata. */
export function stateOf(row: Row['document']): State {
  let state = states.get(row)
  if (!state) {
    const { _deleted, _rev, _meta, _attachments, ...document } = row
    state = { document: document as unknown as Document, deleted: _deleted }
    states.set(row, state)
  }
  return state
}

/** A cache; RxDB never changes a row in place. */
const states = new WeakMap<Row['document'], State>()

const keyOf = ({ databaseName, collectionName }: Place) => `${databaseName} ${collectionName}`
const nameOf = ({ databaseName, collectionName }: Place) =>
  `${databaseName.slice(0, 12)} ${collectionName}`
