/** `_local` documents: the checkpoints of replicas. They have one revision at a time, and are not replicated. */
import type { RevisionStore } from '../sync/revisions.ts'
import type { CouchDatabase } from './database.ts'
import { badRequest, conflict, forbidden, missing } from './refusal.ts'

export const LOCAL = '_local/'

/** A checkpoint has about a thousand. */
const MAX_BYTES = 64 * 1024

type Locals = Pick<RevisionStore, 'findLocal' | 'putLocal'>

/** @returns the document as JSON text @throws Refusal */
export async function getLocal(
  locals: Locals,
  { user, name }: CouchDatabase,
  id: string,
): Promise<string> {
  const found = await locals.findLocal(user, name, requireId(id))
  if (!found) throw missing()
  const own = JSON.stringify({ _id: LOCAL + id, _rev: localRev(found.revision) })
  return found.body === '{}' ? own : `${own.slice(0, -1)},${found.body.slice(1)}`
}

/** @throws Refusal */
export async function putLocal(
  locals: Locals,
  { user, name }: CouchDatabase,
  id: string,
  document: Record<string, unknown>,
): Promise<{ ok: true; id: string; rev: string }> {
  const revision = revisionOf(document._rev)
  const content = Object.entries(document).filter(([field]) => !field.startsWith('_'))
  const body = document._deleted === true ? undefined : JSON.stringify(Object.fromEntries(content))
  if (body && Buffer.byteLength(body) > MAX_BYTES)
    throw forbidden(`A local document has at most ${MAX_BYTES} bytes.`)
  if (!(await locals.putLocal(user, name, requireId(id), revision, body))) throw conflict()
  return { ok: true, id: LOCAL + id, rev: localRev(body === undefined ? 0 : revision + 1) }
}

/** @throws Refusal */
function revisionOf(rev: unknown): number {
  if (rev === undefined) return 0
  const [, revision] = typeof rev === 'string' ? (/^0-(\d{1,9})$/.exec(rev) ?? []) : []
  if (revision === undefined) throw badRequest('Invalid rev format')
  return Number(revision)
}

/** @throws Refusal */
function requireId(id: string): string {
  if (/^[^\0\p{Surrogate}]{1,300}$/u.test(id)) return id
  throw badRequest('The id of a local document has at most 300 characters.')
}

const localRev = (revision: number) => `0-${revision}`
