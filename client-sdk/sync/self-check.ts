import { deepEqual } from 'rxdb'
import { BUCKETS, bucketOf, Digest } from '../../protocol/digest.ts'
import { isBlank } from '../../protocol/for-good.ts'
import type {
  Checkpoint,
  DigestResponse,
  ReplicaState,
  WireDocument,
} from '../../protocol/replication.ts'
import type { Definition } from '../local/resources.ts'
import { shapes } from '../local/shapes.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api } from '../runtime/api.ts'
import { ClientError } from '../runtime/client-error.ts'
import { stopped } from '../runtime/until.ts'
import type { Connection } from '../session/connection.ts'
import type { DocumentStates, Pair } from './document-states.ts'
import { headersOf, type Pull, queryOf } from './pull.ts'
import type { Turns } from './turns.ts'

/** How often it starts over when something changes meanwhile. */
const MOST_TRIES = 5
/** Buckets that are pulled and repaired at once, an eighth of the documents. */
const BUCKETS_AT_ONCE = BUCKETS / 8

interface SelfCheckOptions {
  resource: Definition
  states: DocumentStates
  api: Api
  /** The path of the resource, such as `/replication/tasks/0`. */
  path: string
  pulls: Pull
  connection: Connection
  signal: AbortSignal
  /** Serializes work on the states. */
  turns: Turns
  /** Whether a push is under way. */
  isSending: () => boolean
  /** Resolves when everything that the server has announced is stored. */
  complete: () => Promise<void>
  /** Pulls, because changes may be missing. */
  look: () => void
  /** Called with documents that are unsent, known as such or not. */
  onUnsent: (ids: readonly string[]) => void
  now: () => number
}

/** What the device has at a position in the feed. */
interface Held {
  cursor: Checkpoint
  replica: ReplicaState
  digest: Digest
  /** The ids of all documents, deleted ones included. */
  ids: ReadonlySet<string>
}

/**
 * One self-check: compares the documents of one collection with those of the server, and repairs what differs.
 *
 * 1. The device computes the digest of the states that should be those of the server at its cursor. For a
 *    document without an unsent edit, that is the visible one.
 * 2. The server compares it, unless the resource has changed after that cursor.
 * 3. If it differs, the device pulls the documents of the buckets that differ. If their digests are those of
 *    step 2, they are the documents at the cursor.
 * 4. If the device is still at that cursor and no push was sent meanwhile, it repairs what differs: then no
 *    state is replaced by an older one.
 */
export class SelfCheck {
  private readonly options: SelfCheckOptions
  private readonly empty: Digest
  private repaired = 0

  constructor(options: SelfCheckOptions) {
    this.options = options
    this.empty = new Digest(options.resource)
  }

  /**
   * @returns the number of repaired documents
   * @throws ClientError, and errors of the storage
   */
  async run(): Promise<number> {
    const { complete, look, signal } = this.options
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      await complete()
      if (await this.compareAll().catch(falseIfExpired)) return this.repaired
      if (signal.aborted) throw stopped()
      look()
    }
    throw new ClientError('timed_out', 'The documents changed during each comparison.')
  }

  /** @returns whether all was compared. Otherwise something has changed meanwhile, here or on the server */
  private async compareAll(): Promise<boolean> {
    const tried = new Set<number>()
    for (;;) {
      const held = await this.hold()
      if (!held) return false
      const { result, buckets = [] } = await this.compare(held)
      if (result === 'behind') return false
      const own = held.digest.buckets
      const differing = [...buckets.keys()].filter(
        (bucket) => buckets[bucket] !== own[bucket] && !tried.has(bucket),
      )
      if (differing.length === 0) return true
      const some = differing.slice(0, BUCKETS_AT_ONCE)
      for (const bucket of some) tried.add(bucket)
      const documents = await this.pull(some)
      const pulled = digestOf(this.options.resource, documents).buckets
      if (some.some((bucket) => pulled[bucket] !== buckets[bucket])) return false
      if (!(await this.repair(held, some, documents))) return false
    }
  }

  /** Undefined if there is no valid cursor, or it moved meanwhile. */
  private async hold(): Promise<Held | undefined> {
    const { states, resource, turns, onUnsent } = this.options
    const { cursor, replica } = states
    if (!cursor) return undefined
    const held: Held = { cursor, replica, digest: new Digest(resource), ids: new Set() }
    const ids = new Set<string>()
    for await (const page of states.pagesOfIds()) {
      // A document that is edited meanwhile comes once more.
      const fresh = page.filter((id) => !ids.has(id))
      for (const id of fresh) ids.add(id)
      const pairs = await turns.take(() => states.pairs(fresh))
      for (const pair of pairs) this.add(held.digest, pair)
      onUnsent(pairs.filter(({ isEdited }) => isEdited).map(({ id }) => id))
    }
    return this.isAt(held) ? { ...held, ids } : undefined
  }

  private add(digest: Digest, { id, here, known, isEdited }: Pair): void {
    if (!isEdited && !this.isSame(here, known)) digest.spoil({ id })
    else if (known && !known._deleted) digest.add(known)
  }

  private compare({ cursor, replica, digest }: Held): Promise<DigestResponse> {
    const { api, path, connection, resource, signal } = this.options
    const others = [`digest=${digest.total}`, `revision=${resource.revision}`]
    const request = { signal, headers: headersOf(replica), isAnswer: isDigest }
    return connection.authorized((token) =>
      api(`${path}/digest?${queryOf(cursor, others)}`, { ...request, token }),
    )
  }

  private async pull(buckets: readonly number[]): Promise<WireDocument[]> {
    const { pulls, connection } = this.options
    const documents = new Map<string, WireDocument>()
    for (let checkpoint: Checkpoint | undefined; ; ) {
      const page = await connection.authorized((token) =>
        // Kept apart from what the device holds.
        pulls.page(token, checkpoint, {}, buckets),
      )
      for (const document of page.documents) documents.set(document.id, document)
      checkpoint = page.checkpoint
      if (page.isLast) return [...documents.values()]
    }
  }

  /** @returns false if the device has moved on */
  private repair(
    held: Held,
    buckets: readonly number[],
    documents: readonly WireDocument[],
  ): Promise<boolean> {
    const { states, turns, isSending, onUnsent, now, signal } = this.options
    const theirs = new Map(documents.map((document) => [document.id, document]))
    const ours = [...held.ids].filter((id) => buckets.includes(bucketOf(id)))
    return turns.take(async () => {
      if (signal.aborted || !this.isAt(held) || isSending()) return false
      const pairs = await states.pairs([...new Set([...ours, ...theirs.keys()])])
      const faulty = pairs.flatMap((pair) => this.trueStateOf(pair, theirs.get(pair.id)) ?? [])
      const extra = pairs.filter((pair) => !theirs.has(pair.id) && this.isExtra(pair))
      await states.mend(faulty)
      await states.makeUnsent(
        extra.map(({ id }) => id),
        now(),
      )
      onUnsent(extra.map(({ id }) => id))
      this.repaired += faulty.length + extra.length
      return true
    })
  }

  /** The state to replace a faulty one with. Tombstones are equal, whatever their fields are. */
  private trueStateOf(
    { here, known, isEdited }: Pair,
    theirs: WireDocument | undefined,
  ): WireDocument | undefined {
    if (!theirs && (isEdited || !here || this.isSame(here, known))) return undefined
    // Of a deletion, the server may have purged the tombstone.
    if (!theirs) return [here, known].find((one) => one?._deleted)
    if (!here) return theirs._deleted ? undefined : theirs
    if (!isEdited)
      return this.isSame(here, theirs) && this.isSame(known, theirs) ? undefined : theirs
    // An unsent edit keeps the state that it was made on, while the cursor moves past newer ones. States
    // are ordered by `updated_at`: two that have the same one are the same, unless this device has erased
    // its own, because it has deleted the document for good.
    const isBase = !known || known.updated_at < theirs.updated_at || this.isSame(known, theirs)
    return isBase || isBlank(this.options.resource, known) ? undefined : theirs
  }

  /** Whether it is on this device only, and not because of an edit. Nothing that is read-only can be sent. */
  private isExtra({ here, known, isEdited }: Pair): boolean {
    const isLive = here?._deleted === false && !known?._deleted
    return isLive && !isEdited && !this.options.resource.readOnly
  }

  private isSame(a: WireDocument | undefined, b: WireDocument | undefined): boolean {
    if (!a || !b || a._deleted || b._deleted) return a?._deleted === b?._deleted
    return this.empty.isSame(a, b)
  }

  private isAt({ cursor, replica }: Held): boolean {
    const { states } = this.options
    return deepEqual(cursor, states.cursor) && deepEqual(replica, states.replica)
  }
}

function digestOf(resource: Definition, documents: readonly WireDocument[]): Digest {
  const digest = new Digest(resource)
  for (const document of documents) if (!document._deleted) digest.add(document)
  return digest
}

function falseIfExpired(error: unknown): boolean {
  if (error instanceof ClientError && error.code === 'checkpoint_expired') return false
  throw error
}

const isDigest = isShaped(shapes.digest)
