import { type Document, type PushRow, type Resource, resources } from '../../protocol/index.ts'
import type { State } from '../../server/sync/judge.ts'
import type { Store } from '../../server/sync/store.ts'
import { underWay } from './node.ts'

/** The fields in which every value that a user types is unique. */
export const TYPED: Readonly<Record<string, readonly string[]>> = {
  tasks: ['title', 'description'],
  categories: ['name'],
  profile: ['display_name', 'bio'],
}

/**
 * Records what has happened and checks the promises. It sees each commit before anything else runs, and is
 * told what users type and which states devices accept.
 */
export class Ledger {
  readonly violations: string[] = []
  /** The number of events that the promises are about: a run without them proves nothing. */
  readonly seen = new Map<string, number>()
  private readonly feeds = new Map<string, Feed>()
  /** Every state that ever was, with its last number. */
  private readonly seqs = new Map<string, number>()
  private readonly reached = new Map<string, number>()
  private readonly typed = new Map<string, string>()
  private readonly accounted = new Set<unknown>()
  private readonly landed = new Set<string>()
  private readonly deleted = new Set<string>()
  private readonly revived = new Set<string>()
  /** Places whose tombstone was purged. */
  private readonly gone = new Set<string>()

  count(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1)
  }

  violated(what: string): void {
    this.violations.push(what)
  }

  /**
   * Reads the changes of a write, right after it. A repeated push must change nothing.
   *
   * @returns the changed documents with their new numbers
   */
  async written(store: Store, user: string, landed: boolean): Promise<readonly string[]> {
    const request = underWay.getStore()
    const feed = this.feedOf(user)
    const before = feed.seq
    const changed = await this.readOn(store, user)
    if (!landed && changed.length > 0)
      this.violated(`a write that failed has changed ${changed.join(', ')}`)
    if (request?.kind !== 'push' || !landed) return changed
    const key = JSON.stringify([user, request])
    if (this.landed.has(key)) {
      this.count('repeated pushes')
      if (changed.length > 0)
        this.violated(`a repeated push has changed ${changed.join(', ')} after ${before}`)
    }
    // What was purged is known to no later one.
    const isGone = ({ newDocumentState: { id } }: PushRow) =>
      this.gone.has(`${user} ${request.resource} ${id}`)
    if (!request.rows.some(isGone)) this.landed.add(key)
    return changed
  }

  /** A user typed `values` while seeing `over`. */
  types(user: string, values: Readonly<Record<string, unknown>>, over: Partial<Document>): void {
    for (const [field, value] of Object.entries(values)) {
      if (typeof value === 'string' && value.startsWith('w')) this.typed.set(value, user)
      if (over[field] !== undefined) this.accounted.add(over[field])
    }
  }

  /** Somebody who saw these values let them go, or was told that they were not taken. */
  knows(values: object): void {
    for (const value of Object.values(values)) this.accounted.add(value)
  }

  /** A user wants this document to exist even if it was deleted. */
  revives(user: string, resource: string, id: string): void {
    this.revived.add(`${user} ${resource} ${id}`)
  }

  /** A device accepts this as the stored state. It must have been stored, and not be older than the last one. */
  takesOver(device: string, user: string, resource: Resource, state: State): void {
    const seq = this.seqs.get(`${user} ${stateKey(resource, state)}`)
    // An edit of a purged document is answered with a tombstone that was never stored.
    if (state.deleted && this.gone.has(`${user} ${resource.name} ${state.document.id}`)) return
    if (seq === undefined) {
      this.violated(
        `${device} received a state that was never stored: ${stateKey(resource, state)}`,
      )
      return
    }
    const place = `${device} ${resource.name} ${state.document.id}`
    const before = this.reached.get(place) ?? 0
    if (seq < before) this.violated(`${place} went back from ${before} to ${seq}`)
    if (!this.isLost(user, seq)) this.reached.set(place, Math.max(before, seq))
  }

  /**
   * The database has lost its last commits. What was typed and is on no device is lost with them.
   *
   * @param held what devices hold of this person's documents
   */
  async failedOver(store: Store, user: string, held: readonly State[]): Promise<void> {
    const feed = this.feedOf(user)
    const lost = new Set([...feed.values.values()].flat())
    // What had lost to another edit may be on no device, and its journal entry may be lost.
    for (const [place, values] of feed.values)
      if (place.startsWith('conflicts ')) this.knows(values)
    const [before, last] = [[...feed.states.keys()], feed.seq]
    feed.states.clear()
    feed.values.clear()
    feed.seq = 0
    for (const place of this.deleted) if (place.startsWith(user)) this.deleted.delete(place)
    await this.readOn(store, user)
    feed.lost.push({ after: feed.seq, upTo: last })
    // A server that lost a document does not know which creations of it were before its deletion.
    for (const place of before) if (!feed.states.has(place)) this.revived.add(`${user} ${place}`)
    const left = [...feed.values.values(), ...held.map(({ document }) => Object.values(document))]
    for (const value of left.flat()) lost.delete(value)
    for (const value of lost) this.accounted.add(value)
    // A device goes back where it sets aside an edit of what was lost.
    this.reached.clear()
    this.landed.clear()
    for (const place of this.gone) if (place.startsWith(user)) this.revived.add(place)
    this.count('failovers')
  }

  /**
   * Tombstones were purged, and what they held of what was typed with them.
   *
   * @param creating the places of documents whose creation no device knows to be stored: the server cannot
   *   know either that it has deleted them since
   */
  async purged(store: Store, user: string, creating: ReadonlySet<string>): Promise<void> {
    const feed = this.feedOf(user)
    const left = new Set<string>()
    for (const resource of Object.values<Resource>(resources))
      for (const { document } of await store.changes(user, resource, 0, 10_000))
        left.add(`${resource.name} ${document.id}`)
    for (const [place, values] of feed.values) {
      if (left.has(place)) continue
      if (!this.deleted.has(`${user} ${place}`)) this.violated(`${place} was purged undeleted`)
      this.knows(values)
      feed.states.delete(place)
      feed.values.delete(place)
      this.gone.add(`${user} ${place}`)
      // A device that has seen what was lost takes all that is missing for lost.
      if (creating.has(place) || feed.lost.length > 0) this.revived.add(`${user} ${place}`)
      this.count('purged tombstones')
    }
    // A late message may be refused now.
    this.landed.clear()
  }

  /** Whether this change was lost in a failover: late messages may still carry it. */
  isLost(user: string, seq: number): boolean {
    return this.feedOf(user).lost.some(({ after, upTo }) => seq > after && seq <= upTo)
  }

  /** The number of the change to this state; undefined if it was never stored. */
  seqOf(user: string, resource: Resource, state: State): number | undefined {
    return this.seqs.get(`${user} ${stateKey(resource, state)}`)
  }

  /** Whether a document with this id was ever stored. */
  isKnown(user: string, resource: Resource, id: string): boolean {
    return this.feedOf(user).states.has(`${resource.name} ${id}`)
  }

  /** The numbers of the documents stored now, tombstones included, by resource and id. */
  stored(user: string): Map<string, number> {
    const { states } = this.feedOf(user)
    return new Map([...states].map(([place, key]) => [place, this.seqs.get(`${user} ${key}`)!]))
  }

  isPurged(user: string, place: string): boolean {
    return this.gone.has(`${user} ${place}`)
  }

  /** Whether the document was deleted last. */
  isDeleted(user: string, place: string): boolean {
    return this.deleted.has(`${user} ${place}`)
  }

  /** The user who typed this value; undefined if nobody did. */
  typistOf(value: string): string | undefined {
    return this.typed.get(value)
  }

  /** The final documents. Everything that was committed must be there, and nothing else. */
  async close(store: Store, user: string): Promise<Map<string, State>> {
    const final = new Map<string, State>()
    const held = new Set<unknown>()
    const { states } = this.feedOf(user)
    for (const resource of Object.values<Resource>(resources)) {
      const changes = await store.changes(user, resource, 0, 10_000)
      if (new Set(changes.map(({ seq }) => seq)).size < changes.length)
        this.violated(`two changes of ${resource.name} have one number`)
      for (const { document, deleted } of changes) {
        const place = `${resource.name} ${document.id}`
        final.set(place, { document, deleted })
        if (states.get(place) !== stateKey(resource, { document, deleted }))
          this.violated(`${place} changed unseen: a reader of the feed has missed it`)
        for (const value of valuesOf(resource, document)) held.add(value)
      }
    }
    for (const place of states.keys())
      if (!final.has(place)) this.violated(`${place} was committed and is gone`)
    for (const [value, typist] of this.typed)
      if (typist === user && !held.has(value) && !this.accounted.has(value))
        this.violated(`${JSON.stringify(value)} disappeared silently`)
    return final
  }

  private async readOn(store: Store, user: string): Promise<string[]> {
    const feed = this.feedOf(user)
    const from = feed.seq
    const changed: string[] = []
    for (const resource of Object.values<Resource>(resources)) {
      for (const { seq, document, deleted } of await store.changes(user, resource, from, 10_000)) {
        const place = `${resource.name} ${document.id}`
        const key = stateKey(resource, { document, deleted })
        if (resource === resources.conflicts && deleted) this.dropped(feed, place, document)
        if (resource === resources.conflicts && !feed.states.has(place)) {
          const about = document.document_id as string
          feed.entries.set(about, [...(feed.entries.get(about) ?? []), place])
        }
        feed.states.set(place, key)
        feed.values.set(place, valuesOf(resource, document))
        feed.seq = Math.max(feed.seq, seq)
        this.seqs.set(`${user} ${key}`, seq)
        changed.push(`${place}@${seq}`)
        this.checkDeletion(`${user} ${place}`, deleted)
      }
    }
    return changed
  }

  /** The journal deletes an entry only for newer ones about the same document. */
  private dropped(feed: Feed, place: string, { document_id }: Document): void {
    const before = feed.values.get(place)
    if (!before) return
    const ids = feed.entries.get(document_id as string) ?? []
    if (ids.at(-1) === place) this.violated(`${place} was dropped as the newest entry`)
    this.knows(before)
    this.count('dropped entries')
  }

  private checkDeletion(place: string, deleted: boolean): void {
    if (deleted) this.deleted.add(place)
    else if (this.deleted.delete(place) && !this.revived.has(place))
      this.violated(`${place} came back from deletion by itself`)
  }

  private feedOf(user: string) {
    const feed: Feed = this.feeds.get(user) ?? {
      seq: 0,
      states: new Map(),
      values: new Map(),
      entries: new Map(),
      lost: [],
    }
    this.feeds.set(user, feed)
    return feed
  }
}

/** What the ledger has seen of a person's feed. */
interface Feed {
  seq: number
  /** What is stored, by resource and id. */
  states: Map<string, string>
  values: Map<string, unknown[]>
  /** The entries of the journal about each document, oldest first. */
  entries: Map<string, string[]>
  /** Numbers of changes that were lost. */
  lost: { after: number; upTo: number }[]
}

function valuesOf({ name }: Resource, document: Document): unknown[] {
  return Object.values(name === 'conflicts' ? (document.lost as object) : document)
}

/** The same for the same content, however its fields are ordered. */
export function stateKey({ name }: Resource, { document, deleted }: State): string {
  let content = contents.get(document)
  if (content === undefined) {
    const names = Object.keys(document).sort()
    content = JSON.stringify(names.map((name) => [name, document[name]]))
    contents.set(document, content)
  }
  return `${name} ${content} ${deleted}`
}

/** A cache; documents are immutable. */
const contents = new WeakMap<Document, string>()
