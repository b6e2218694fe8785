import { type Referring, type Resource, referencesOf } from '../../protocol/index.ts'
import type { Gone, Row, State } from './judge.ts'
import type { ReadAhead, Transaction } from './store.ts'

/** The ids that rows refer to and that nothing has, by field. */
export type Missing = ReadonlyMap<string, ReadonlySet<unknown>>

/**
 * Resolves the references of rows. A document may arrive before its target, for which `placeholdFor` inserts a
 * placeholder. A document that refers to a deleted one is treated as if it had existed at the deletion.
 *
 * @param stored the existing documents by id; the references of a restored tombstone are checked too
 */
export async function withReferences(
  transaction: Transaction,
  resource: Resource,
  rows: readonly Row[],
  stored: ReadonlyMap<string, State>,
): Promise<{ rows: readonly Row[]; gone: Gone; missing: Missing }> {
  let fitting = rows
  const missing = new Map<string, ReadonlySet<unknown>>()
  const gone = new Map<string, ReadonlySet<unknown>>()
  for (const reference of referencesOf(resource)) {
    const { field, target } = reference
    const sent = idsIn(rows.map(({ next }) => next[field]))
    const kept = idsIn(rows.filter(isRestoration).map(({ id }) => stored.get(id)?.document[field]))
    if (sent.length + kept.length === 0) continue
    const found = await transaction.read(target, idsIn([...sent, ...kept]))
    missing.set(field, new Set(sent.filter((id) => !found.has(id))))
    const deleted = new Set<unknown>([...found].filter(([, one]) => one.deleted).map(([id]) => id))
    gone.set(field, deleted)
    fitting = fitting.map((row) =>
      deleted.has(row.next[field]) ? afterDeletion(reference, row) : row,
    )
  }
  return { rows: fitting, gone, missing }
}

/** What rows refer to, to be read ahead. */
export function targetsOf(resource: Resource, rows: readonly Row[]): ReadAhead[] {
  return referencesOf(resource)
    .map(({ field, target }) => ({
      resource: target,
      ids: idsIn(rows.map(({ next }) => next[field])),
    }))
    .filter(({ ids }) => ids.length > 0)
}

/** Inserts placeholders for what documents that are about to be written refer to. */
export async function placeholdFor(
  transaction: Transaction,
  resource: Resource,
  writes: readonly State[],
  missing: Missing,
): Promise<void> {
  for (const { field, target } of referencesOf(resource)) {
    const ids = idsIn(writes.map(({ document }) => document[field]))
    await transaction.placehold(
      target,
      ids.filter((id) => missing.get(field)?.has(id)),
    )
  }
}

const idsIn = (values: readonly unknown[]): string[] => [
  ...new Set(values.filter((value) => typeof value === 'string')),
]

const isRestoration = ({ assumedDeleted, nextDeleted }: Row) => assumedDeleted && !nextDeleted

function afterDeletion({ field, onDelete }: Referring, row: Row): Row {
  const { next, sent = next } = row
  if (onDelete === 'clear') return { ...row, next: { ...next, [field]: null }, sent }
  // A tombstone may refer to another one.
  return row.nextDeleted ? row : { ...row, takenBy: field, sent }
}

/** The fields of a resource that refer to the resource itself. */
export function treesOf(resource: Resource): string[] {
  return referencesOf(resource)
    .filter(({ target }) => target === resource)
    .map(({ field }) => field)
}

/**
 * Splits rows into parts that are written one after the other. With references within a resource, a
 * deletion or restore may change documents of later rows.
 */
export function partsOf(resource: Resource, rows: readonly Row[]): Row[][] {
  if (treesOf(resource).length === 0) return [[...rows]]
  const parts: Row[][] = []
  let wasDeletion = false
  for (const row of rows) {
    const isDeletion = row.nextDeleted || row.assumedDeleted
    if (parts.length === 0 || (wasDeletion && !isDeletion)) parts.push([])
    parts.at(-1)!.push(row)
    wasDeletion = isDeletion
  }
  return parts
}
