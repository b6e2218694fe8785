import { randomToken } from 'rxdb'
import {
  type DocumentLog,
  notStored,
  type Place,
  type Stored,
  takenAway,
} from './storage-logged.ts'

/** A store of texts that answers at once, such as MMKV in React Native. */
export type KeyValueStore = {
  getString(key: string): string | undefined
  set(key: string, value: string): void
  getAllKeys(): string[]
} & ({ remove(key: string): unknown } | { delete(key: string): unknown })

/** A segment whose documents take less is merged with others like it. */
const SMALL = 16 * 1024
/** So many small segments may there be. */
const SMALL_SEGMENTS = 32
/** How much of former segments a write moves at the least. */
const MOVED = 32 * 1024
/** So much more than half of the store may be out of date. */
const SLACK = 64 * 1024

interface Segment {
  readonly key: string
  /** The characters it takes, and those of them that still count. */
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
 * A log in a key-value store. Each write is one new key, a segment: a JSON array of documents, which
 * the store keeps whole or not at all. Of two segments with the same document, the one with the higher
 * number counts. A segment that begins with `null` makes those before it void.
 *
 * Segments none of whose documents count any more are removed. Others are emptied by and by: each
 * write moves some documents of small or outdated segments into its own. So a write costs what it
 * writes and some 32 KB at times, and the store takes about twice what the documents do, and
 * once more what was written last.
 */
export class KeyValueLog implements DocumentLog {
  private readonly store: KeyValueStore
  private readonly place: Place
  private readonly prefix: string
  /** Names the instance of the app that has opened the log last. */
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

  /** If it is interrupted after the first step, there is nothing but the rest to be removed. */
  async remove(): Promise<void> {
    try {
      this.write([], true)
    } catch (error) {
      if (this.isTakenAway()) throw error // what is full becomes empty
    }
    this.forget([...this.segments].map(({ key }) => key).concat(this.ownerKey), true)
  }

  /** Adds a segment, which is there as a whole or not at all. */
  private write(rows: { document: Stored; text: string }[], isReset = false): void {
    if (this.isTakenAway()) throw takenAway()
    const texts = rows.map(({ text }) => text)
    const text = `[${(isReset ? ['null', ...texts] : texts).join(',')}]`
    const key = `${this.prefix}${this.next}`
    try {
      this.store.set(key, text)
    } catch (cause) {
      // It may be there, or half of it. If it cannot be removed, the next segment takes its place.
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
      // The last one may have been cut off while it was written: nobody was told that it is kept.
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

  /** Documents of segments that are better emptied. */
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
   * Removes the segments that do not count; what cannot be removed now is tried again. In their order,
   * since one that is void must not outlive the one that says so.
   */
  private sweep(): void {
    for (const segment of this.segments) {
      if (segment.ids.size > 0) continue
      if (!this.forget([segment.key])) return
      this.segments.delete(segment)
    }
  }

  /** What RxDB's localstorage storage, which the SDK used before, has kept in the store. */
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
      // There is no room: then it goes on as the one before.
      this.owner = this.store.getString(this.ownerKey) ?? this.owner
    }
  }

  private isTakenAway(): boolean {
    return (this.store.getString(this.ownerKey) ?? this.owner) !== this.owner
  }

  /** In this order. */
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

/** Indexes have no hyphen there: of another version, they may be removed too, since nobody reads them. */
function localstoragePrefix(what: string, { database, collection, version }: Place): string {
  return `RxDB-ls-${what}-${database}--${collection}--${version}${what === 'doc' ? '-' : ''}`
}
