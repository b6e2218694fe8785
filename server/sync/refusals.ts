/**
 * Rejected rows of clients that do not ask for rejections: such clients lose the edit, so the conflict
 * journal keeps it. A client that asks for rejections keeps them itself.
 */
import { v5 as uuidv5 } from 'uuid'
import {
  canonicalJson,
  type Document,
  isRecordable,
  type Kind,
  type Resource,
  resources,
  sameIn,
  settle,
} from '../../protocol/index.ts'
import { dropEntries, type Party, writeEntries } from './journal.ts'
import type { Pause } from './pause.ts'
import { documentIdOf, type Refusal } from './rows.ts'
import type { Stored, Transaction } from './store.ts'

const { conflicts } = resources

/** The id of an entry is derived from the rejection, so that a repeated one does not create a second entry. */
const NAMESPACE = '3a3f1d52-5d0c-4d7e-8a43-2f6c1f0f9a55'

/** The limits per user: enough for one push, but no client can fill the disk. */
export const MAX_REFUSED = 1_000
export const MAX_REFUSED_CHARACTERS = 5 * 1024 * 1024

/**
 * Creates an entry for each rejection that would lose an edit. Over the limits, the oldest entries are
 * emptied and deleted.
 */
export async function keepRefusals(
  transaction: Transaction,
  resource: Resource,
  refusals: readonly Refusal[],
  stored: ReadonlyMap<string, Stored>,
  party: Party,
  now: string,
  pause: Pause,
): Promise<void> {
  if (resource.readOnly) return
  const entries = new Map<string, Readonly<Record<string, unknown>>>()
  for (const refusal of refusals) {
    await pause()
    const { document } = stored.get(documentIdOf(refusal.id) ?? '') ?? {}
    const fields = fieldsOf(resource, refusal, document, now)
    await pause()
    if (fields) entries.set(idOf(party.user, resource, refusal), fields)
  }
  if (entries.size === 0) return
  const known = await transaction.read(conflicts, [...entries.keys()])
  const full = await fullOf(transaction, [...known.values()])
  const fresh: Document[] = []
  for (const [id, fields] of entries) {
    const before = known.get(id)
    if (before?.deleted === false || full.has(before?.document.document_id)) continue
    const entry = { ...fields, id, session_id: party.session, updated_at: now }
    fresh.push(settle(conflicts, entry, before?.document, now))
    await pause()
  }
  if (fresh.length === 0) return
  await dropEntries(transaction, await overflow(transaction, fresh, pause), now)
  await writeEntries(transaction, fresh, now)
}

/** The documents of dropped entries that have as many newer ones as there may be: so long, none comes back. */
async function fullOf(transaction: Transaction, known: readonly Stored[]) {
  const dropped = known.filter(({ deleted }) => deleted)
  const ids = [...new Set(dropped.map(({ document }) => document.document_id as string))]
  if (ids.length === 0) return new Set<unknown>()
  const most = transaction.limits.entriesPerDocument
  const last = await transaction.olderThanNewest(conflicts, 'document_id', ids, most - 1)
  return new Set<unknown>(last.map(({ document }) => document.document_id))
}

/** The same values rejected twice are one loss, whenever they were entered. */
function idOf(user: string, resource: Resource, { id, sent }: Refusal): string {
  const { updated_at: _, ...values } = sent
  const what = [
    user,
    resource.name,
    id,
    Object.entries(values)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => [name, inBrief(value)]),
  ]
  // As bytes, because uuid takes ten times as long to make them of a long text.
  return uuidv5(Buffer.from(JSON.stringify(what)), NAMESPACE)
}

/** A longer text is replaced by an id made of it: to quote it twice and to encode that takes several times as long. */
const LONG = 64 * 1024

function inBrief(value: unknown): unknown {
  if (typeof value === 'string' && value.length > LONG)
    return { of: uuidv5(Buffer.from(value), NAMESPACE) }
  return isRecordable(value) ? canonicalJson(value) : value
}

/** The content of an entry; undefined if no edit is lost. */
function fieldsOf(resource: Resource, refusal: Refusal, stored: Document | undefined, now: string) {
  const { id, sent, assumed, errors } = refusal
  // A deletion loses no values.
  if (sent._deleted === true) return undefined
  const isIn = (values: Readonly<Record<string, unknown>>, name: string) =>
    values[name] !== undefined && sameIn(resource, name, sent, values)
  const isTyped = ([name]: [string, unknown]) =>
    !NOT_TYPED.has(name) &&
    !(name in resource.stamps) &&
    !isIn(assumed ?? {}, name) &&
    !isIn(stored ?? resource.initial, name)
  const typed = Object.entries(sent).filter(isTyped)
  if (typed.length === 0) return undefined
  const isPlain = ([name, value]: [string, unknown]) =>
    resource.writable.includes(name) &&
    (typeof value !== 'object' || value === null || OF_PARTS.has(resource.fields[name]!.kind)) &&
    isRecordable(value)
  const lost = Object.fromEntries(typed.filter(isPlain))
  const rest = typed.filter((one) => !isPlain(one))
  return {
    resource: resource.name,
    document_id: documentIdOf(id) ?? uuidv5(JSON.stringify([resource.name, id]), NAMESPACE),
    cause: 'refused',
    lost,
    // As text, which escapes characters that Postgres cannot store.
    lost_json: rest.length > 0 ? JSON.stringify(Object.fromEntries(rest)) : null,
    kept: stored ? Object.fromEntries(Object.keys(lost).map((name) => [name, stored[name]])) : {},
    lost_at: madeAt(sent.updated_at, now),
    errors: Object.fromEntries(
      Object.entries(errors).map(([name, messages]) => [name, storable(messages.join(' '))]),
    ),
  }
}

function madeAt(dated: unknown, now: string): string {
  const { data } = conflicts.fields.lost_at.schema.safeParse(dated)
  return data !== undefined && data < now ? data : now
}

/** Kinds with lists or objects as values. For other kinds, readers of the journal expect scalars. */
const OF_PARTS: ReadonlySet<Kind> = new Set(['set', 'record'])

const NOT_TYPED = new Set(['id', 'created_at', 'updated_at', '_deleted'])

/** A message may quote the input, truncated within a character. */
const storable = (text: string) => text.replaceAll(/[\0\ud800-\udfff]/gu, '\ufffd')

/** The oldest entries, to make room for new ones. */
async function overflow(
  transaction: Transaction,
  fresh: readonly Document[],
  pause: Pause,
): Promise<Stored[]> {
  let size = 0
  for (const { lost_json, ...rest } of fresh) {
    await pause()
    // About as many characters as it has as JSON.
    size += JSON.stringify(rest).length + ((lost_json as string | null)?.length ?? 0)
  }
  const [places, room] = [MAX_REFUSED - fresh.length, MAX_REFUSED_CHARACTERS - size]
  return transaction.olderThanNewest(conflicts, 'cause', ['refused'], places, room)
}
