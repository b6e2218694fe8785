/** Documents as they are on the wire, with their fields that begin with an underscore. */
import { isDeeperThan } from '../../protocol/index.ts'
import type { ListedRevision, Revision } from '../sync/revisions.ts'
import {
  leavesOf,
  MAX_GENERATION,
  parseRev,
  type RevisionName,
  revisionsFrom,
  revOf,
} from './paths.ts'
import { badRequest, forbidden, InvalidRequest, type Refusal } from './refusal.ts'

/** A document that a client has sent. */
export interface Incoming {
  readonly id: string
  /** The revision that it follows, or its own. */
  readonly rev: RevisionName | undefined
  /** Its own path, if it was made elsewhere. */
  readonly path: readonly string[]
  readonly deleted: boolean
  readonly content: Readonly<Record<string, unknown>>
}

export type WireDocument = Record<string, unknown>

/** Those that stay a part of the content. */
const CONTENT = /^_replication_/
/** The others that a document may have. Some are only shown. */
const SPECIAL = new Set([
  '_id',
  '_rev',
  '_revisions',
  '_deleted',
  '_attachments',
  '_revs_info',
  '_conflicts',
  '_deleted_conflicts',
  '_local_seq',
  '_rev_tree',
])

/**
 * @param isReplicated whether it has its own revision: then it is refused in a way that does not end replication
 * @throws Refusal
 */
export function readDocument(input: unknown, isReplicated: boolean): Incoming {
  const refuse = isReplicated ? forbidden : badRequest
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw refuse('Document must be a JSON object')
  const { _id, _rev, _revisions, _deleted, _attachments } = input as WireDocument
  if (typeof _id !== 'string' || _id === '') throw refuse('_id field must contain a string')
  // CouchDB refuses the whole request for it.
  if (!isReplicated && /^_(?!design\/)/.test(_id))
    throw new InvalidRequest('Only reserved document ids may start with underscore.')
  const rev = _rev === undefined ? undefined : parseRev(_rev)
  if (isReplicated && _rev === undefined) throw new InvalidRequest('_rev is missing')
  const isTooHigh = isReplicated && rev !== undefined && rev.generation > MAX_GENERATION
  if ((_rev !== undefined && !rev) || isTooHigh) throw refuse('Invalid rev format')
  if (_attachments !== undefined && Object.keys(_attachments ?? {}).length > 0)
    throw forbidden('This server stores no attachments.')
  const content: WireDocument = {}
  for (const name in input)
    if (!name.startsWith('_') || CONTENT.test(name)) content[name] = (input as WireDocument)[name]
    else if (!SPECIAL.has(name)) throw special(name, isReplicated)
  if (isDeeperThan(MAX_DEPTH, content))
    throw refuse(`Values are nested in more than ${MAX_DEPTH} levels.`)
  const path = isReplicated && rev ? pathOf(rev, _revisions) : []
  return { id: _id, rev, path, deleted: _deleted === true, content }
}

/** What is nested more deeply has not arrived whole: see `createJsonScan`. */
const MAX_DEPTH = 16

function special(name: string, isReplicated: boolean): Refusal {
  const reason = `Bad special document member: ${name.slice(0, 60)}`
  return isReplicated ? forbidden(reason) : new InvalidRequest(reason, 'doc_validation')
}

/** What a client may send: far more than any keeps. */
const MAX_PATH = 10_000

/** @throws Refusal */
function pathOf({ generation, hash }: RevisionName, revisions: unknown): readonly string[] {
  if (revisions === undefined) return [hash]
  const { start, ids } = (revisions ?? {}) as { start?: unknown; ids?: unknown }
  const isPath =
    Array.isArray(ids) &&
    ids.length <= Math.min(generation, MAX_PATH) &&
    ids.every((id) => typeof id === 'string' && parseRev(`1-${id}`))
  if (!isPath) throw forbidden('Invalid _revisions')
  // PouchDB mistakes revisions of a document that have the same hash for each other.
  return start === generation && ids[0] === hash ? ids : [hash]
}

/** Which fields with an underscore to add. */
export interface Shown {
  readonly conflicts?: boolean
  readonly deletedConflicts?: boolean
  readonly revs?: boolean
  readonly revsInfo?: boolean
  readonly localSeq?: string
}

/** A revision as JSON text. Its content is text already, which nobody parses. */
export function documentText(
  id: string,
  { rev, deleted, body }: { rev: string; deleted: boolean; body: string | null },
  more: object = {},
): string {
  const own = JSON.stringify({ _id: id, _rev: rev, ...(deleted && { _deleted: true }), ...more })
  const content = body ?? '{}'
  return content === '{}' ? own : `${own.slice(0, -1)},${content.slice(1)}`
}

/** One revision of a document, as JSON text. */
export function revisionText(
  id: string,
  revision: Revision,
  revisions: readonly Revision[],
  shown: Shown = {},
): string {
  const { conflicts, deletedConflicts, revs, revsInfo, localSeq } = shown
  const leaves = leavesOf(revisions)
  const others = leaves.slice(1)
  const more = {
    ...(conflicts && some('_conflicts', others.filter(isLive).map(revOf))),
    ...(deletedConflicts && some('_deleted_conflicts', others.filter(isDeleted).map(revOf))),
    ...(revs && { _revisions: historyOf(revision, leaves) }),
    ...(revsInfo && { _revs_info: infoOf(revision, revisions) }),
    ...(localSeq !== undefined && { _local_seq: localSeq }),
  }
  return documentText(id, { ...revision, rev: revOf(revision) }, more)
}

/** By the paths of leaves, which know more ancestors than the revision did when it was a leaf. */
function historyOf(revision: Revision, leaves: readonly Revision[]) {
  const { generation, path } = revision
  const longest = leaves
    .filter((leaf) => leaf.path[leaf.generation - generation] === path[0])
    .map((leaf) => revisionsFrom(leaf, generation))
    .sort((a, b) => b.ids.length - a.ids.length)[0]
  return longest ?? revisionsFrom(revision)
}

function infoOf(revision: Revision, revisions: readonly Revision[]) {
  const { start, ids } = historyOf(revision, leavesOf(revisions))
  const known = new Map(revisions.map((one) => [revOf(one), one]))
  return ids.map((hash, nth) => {
    const rev = `${start - nth}-${hash}`
    const one = known.get(rev)
    if (!one || isForgotten(one)) return { rev, status: 'missing' }
    return { rev, status: one.deleted ? 'deleted' : 'available' }
  })
}

/** Whether it is a former one whose content is gone: without it, it would be another document of the same name. */
export const isForgotten = ({ isLeaf, body }: Revision) => !isLeaf && body === null

const isLive = ({ deleted }: { deleted: boolean }) => !deleted
const isDeleted = ({ deleted }: { deleted: boolean }) => deleted
const some = (name: string, revs: readonly string[]) => (revs.length > 0 ? { [name]: revs } : {})

/** The leaves of a listed document, the winner first. */
export function rankedOf(leaves: readonly ListedRevision[]) {
  return leavesOf(leaves.map((leaf) => ({ ...leaf, path: [leaf.hash], isLeaf: true })))
}
