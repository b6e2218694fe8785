/** The server's part of the self-check, without HTTP and SQL. protocol/README.md describes it. */

import {
  type Checkpoint,
  Digest,
  type DigestResponse,
  type ReplicaState,
  type Resource,
  type WireDocument,
} from '../../protocol/index.ts'
import { numberOf, requireCurrent } from './cursors.ts'
import { type Page, type Store, UnknownUser } from './store.ts'

/** Documents that are read and hashed at once: some milliseconds. */
const PAGE = 250

/** What a client has: its checkpoint, and the digest of its documents. */
export interface Held {
  readonly from: Checkpoint
  readonly digest: string | undefined
  /** The revision of its definition of the resource. */
  readonly revision: number
  readonly replica?: ReplicaState | undefined
}

/**
 * Compares the documents of a client with those of the server at the client's checkpoint.
 *
 * The documents are read page by page in the order of the feed. A document that changes meanwhile moves to
 * the end of the feed, which is read last. So if nothing read is after the checkpoint, all pages together
 * are the documents at the checkpoint.
 *
 * @throws Problem `checkpoint_expired`
 */
export async function compare(
  store: Store,
  user: string,
  resource: Resource,
  { from, digest, revision, replica }: Held,
): Promise<DigestResponse> {
  const at = numberOf(from)
  const next = await page(store.page(user, resource, at, 1))
  requireCurrent(from, next.feed, resource, replica)
  if (next.last !== undefined) return { result: 'behind' }
  if (revision !== resource.revision) return { result: 'incomparable' }
  const own = new Digest(resource)
  for (let after: number | undefined = 0; after !== undefined; ) {
    // Up to the checkpoint without tombstones, which do not count.
    const {
      documents,
      isLast,
      last = 0,
    }: Page = await page(store.page(user, resource, after, PAGE, at))
    if (last > at) return { result: 'behind' }
    for (const document of JSON.parse(documents) as WireDocument[]) own.add(document)
    after = isLast ? undefined : last
  }
  return own.total === digest ? { result: 'equal' } : { result: 'different', buckets: own.buckets }
}

async function page(reading: Promise<Page | undefined>): Promise<Page> {
  const found = await reading
  if (!found) throw new UnknownUser()
  return found
}
