import { randomToken } from 'rxdb'
import {
  type DocumentLog,
  notStored,
  type Place,
  type Stored,
  takenAway,
} from './storage-logged.ts'

/** A synchronous key-value store of strings, such as MMKV in React Native. */
export type KeyValueStore = {
  getString(key: string): string | undefined
  set(key: string, value: string): void
  getAllKeys(): string[]
} & ({ remove(key: string): unknown } | { delete(key: string): unknown })

/** Smaller segments are merged. */
const SMALL = 16 * 1024
/** The maximum number of small segments. */
const SMALL_SEGMENTS = 32
/** A write moves at least this many characters of older segments. */
const MOVED = 32 * 1024
/** How far outdated data may exceed half of the store. */
const SLACK = 64 * 1024

interface Segment {
  readonly key: string
  /** Its size in characters, and the part that is not outdated. */
  readonly size: number
  current: number
  readonly ids: Set<string>
}

interface Entry {
  document: Stored
  segment: Segment
  size: number
}

/**
 * A log in a key-value store. Each write adds one key, a segment: a JSON array of documents, which the
 * store writes atomically. If several segments have the same document, the highest number wins. A segment
 * that begins with `null` invalidates all segments before it.
 *
 * Segments without current documents are removed. Others are compacted gradually: each write moves some
 * documents of small or outdated segments into its own. So a write costs its own size and occasionally
 * 32 KB, and the store takes about twice the size of the documents plus the last write.
 */
export class KeyValueLog implements DocumentLog {
  private readonly store: KeyValueStore
  private readonly place: Place
  private readonly prefix: string
  /** The id of the app instance that opened the log last. */
  private readonly ownerKey: string
  private owner = randomToken(10)
  private readonly segments = new Set<Segment>()
  private readonly entries = new Map<string, Entry>()
  private next = 0

  constructor(store: KeyValueStore, place: Place) {
    const { database, collection, version } = place
    this.store = store
    this.place = place
    const names = [database, collection, String(version)].map(encodeURIComponent)
    this.prefix = `tasktide/${names.join('/')}/`
    this.ownerKey = `${this.prefix}owner`
  }

  async load(): Promise<Stored[]> {
    const keys = this.store.getAllKeys()
    const numbers = keys
      .filter((key) => key.startsWith(this.prefix) && key !== this.ownerKey)
      .map((key) => Number(key.slice(this.prefix.length)))
      .sort((a, b) => a - b)
    this.next = numbers.at(-1) ?? 0
    for (const number of numbers) this.read(number, number === this.next)
    this.own()
    if (numbers.length === 0) await this.takeOver(keys)
    this.forget(keys.filter((key) => isOfLocalstorage(key, this.place)))
    return [...this.entries.values()].map(({ document }) => document)
  }

  async keep(documents: readonly Stored[]): Promise<void> {
    const rows = documents.map((document) => ({ document, text: JSON.stringify(document) }))
    const size = rows.reduce((sum, { text }) => sum + text.length, 0)
    const written = new Set(documents.map((document) => this.idOf(document)))
    const moved = this.movable(Math.max(MOVED, size), written)
    this.write([
      ...rows,
      ...moved.map(({ document }) => ({ document, text: JSON.stringify(document) })),
    ])
  }

  async purge(ids: readonly string[]): Promise<void> {
    const purged = new Set(ids)
    const left = [...this.entries].filter(([id]) => !purged.has(id))
    this.write(
      left.map(([, { document }]) => ({ document, text: JSON.stringify(document) })),
      true,
    )
  }

  /** If interrupted after the first step, only garbage is left. */
  async remove(): Promise<void> {
    try {
      this.write([], true)
    } catch (error) {
      if (this.isTakenAway()) throw error // a full store can still be emptied
    }
    this.forget([...this.segments].map(({ key }) => key).concat(this.ownerKey), true)
  }

  /** Adds a segment atomically. */
  private write(rows: { document: Stored; text: string }[], isReset = false): void {
    if (this.isTakenAway()) throw takenAway()
    const texts = rows.map(({ text }) => text)
    const text = `[${(isReset ? ['null', ...texts] : texts).join(',')}]`
    const key = `${this.prefix}${this.next}`
    try {
      this.store.set(key, text)
    } catch (cause) {
      // The store may have all or part of it. If it cannot be removed, the next segment replaces it.
      this.forget([key])
      throw notStored(cause)
    }
    this.next++
    this.add(
      key,
      text.length,
      rows.map(({ document, text }) => [document, text.length]),
      isReset,
    )
    this.sweep()
  }

  private read(number: number, isLast: boolean): void {
    const key = `${this.prefix}${number}`
    const text = this.store.getString(key) ?? ''
    let parsed: (Stored | null)[]
    try {
      parsed = JSON.parse(text)
    } catch (cause) {
      // The last segment may be incomplete after a crash; its write was not acknowledged.
      if (isLast) return
      throw new Error(`The store is damaged at ${key}.`, { cause })
    }
    const documents = parsed.filter((document) => document !== null)
    const size = documents.length === 0 ? 0 : text.length / documents.length
    const sized = documents.map((document): [Stored, number] => [document, size])
    this.add(key, text.length, sized, parsed[0] === null)
    if (isLast) this.next++
  }

  private add(key: string, size: number, documents: [Stored, number][], isReset: boolean): void {
    if (isReset) {
      this.entries.clear()
      for (const segment of this.segments) {
        segment.ids.clear()
        segment.current = 0
      }
    }
    const segment: Segment = { key, size, current: 0, ids: new Set() }
    this.segments.add(segment)
    for (const [document, size] of documents) {
      const id = this.idOf(document)
      const former = this.entries.get(id)
      if (former) {
        former.segment.ids.delete(id)
        former.segment.current -= former.size
      }
      this.entries.set(id, { document, segment, size })
      segment.ids.add(id)
      segment.current += size
    }
  }

  /** Documents of segments to compact. */
  private movable(budget: number, except: ReadonlySet<string>): Entry[] {
    const moved: Entry[] = []
    let size = 0
    for (const { ids } of this.toEmpty())
      for (const id of ids) {
        if (except.has(id)) continue
        const entry = this.entries.get(id)!
        size += entry.size
        if (size > budget && moved.length > 0) return moved
        moved.push(entry)
      }
    return moved
  }

  private toEmpty(): Segment[] {
    const all = [...this.segments].filter(({ ids }) => ids.size > 0)
    const sum = (key: 'size' | 'current') => all.reduce((sum, one) => sum + one[key], 0)
    const outdated = ({ size, current }: Segment) => 1 - current / size
    let excess = sum('size') - 2 * sum('current') - SLACK
    if (excess > 0)
      return all
        .sort((a, b) => outdated(b) - outdated(a))
        .filter(({ size, current }) => {
          const isNeeded = excess > 0
          excess -= size - current
          return isNeeded
        })
    const small = all.filter((segment) => segment.current < SMALL)
    return small.length > SMALL_SEGMENTS ? small : []
  }

  /**
   * Removes obsolete segments, and retries later if that fails. In order: an invalidated segment must not
   * outlive the one that invalidates it.
   */
  private sweep(): void {
    for (const segment of this.segments) {
      if (segment.ids.size > 0) continue
      if (!this.forget([segment.key])) return
      this.segments.delete(segment)
    }
  }

  /** Documents of RxDB's localstorage storage, which earlier releases used. */
  private async takeOver(keys: readonly string[]): Promise<void> {
    const documents = keys
      .filter((key) => key.startsWith(localstoragePrefix('doc', this.place)))
      .map((key): Stored => JSON.parse(this.store.getString(key)!))
    if (documents.length > 0) await this.keep(documents)
  }

  private own(): void {
    try {
      this.store.set(this.ownerKey, this.owner)
    } catch {
      // The store is full: the previous instance stays the owner.
      this.owner = this.store.getString(this.ownerKey) ?? this.owner
    }
  }

  private isTakenAway(): boolean {
    return (this.store.getString(this.ownerKey) ?? this.owner) !== this.owner
  }

  /** Removes keys in this order. */
  private forget(keys: readonly string[], mustSucceed = false): boolean {
    const { store } = this
    try {
      for (const key of keys) 'remove' in store ? store.remove(key) : store.delete(key)
      return true
    } catch (error) {
      if (mustSucceed) throw error
      return false
    }
  }

  private idOf(document: Stored): string {
    return document[this.place.primaryPath] as string
  }
}

function isOfLocalstorage(key: string, place: Place): boolean {
  return ['doc', 'changes', 'idx'].some((what) => key.startsWith(localstoragePrefix(what, place)))
}

/** Keys of indexes have no hyphen, so other versions match too. They can be removed, as nothing reads them. */
function localstoragePrefix(what: string, { database, collection, version }: Place): string {
  return `RxDB-ls-${what}-${database}--${collection}--${version}${what === 'doc' ? '-' : ''}`
}
