import { type Referring, type Resource, referencesOf } from '../../protocol/index.ts'
import type { Row } from './judge.ts'
import type { Transaction } from './store.ts'

/**
 * Resolves the references of rows. A document may arrive before its target, for which a placeholder is
 * inserted. A document that refers to a deleted one becomes what it would have become if it had existed at
 * the deletion.
 */
export async function withReferences(
  transaction: Transaction,
  resource: Resource,
  rows: readonly Row[],
): Promise<readonly Row[]> {
  let fitting = rows
  for (const reference of referencesOf(resource)) {
    const { field, target } = reference
    const values = rows.map(({ next }) => next[field])
    const ids = [...new Set(values.filter((value) => typeof value === 'string'))]
    if (ids.length === 0) continue
    const found = await transaction.read(target, ids)
    await transaction.placehold(
      target,
      ids.filter((id) => !found.has(id)),
    )
    const isDeleted = (id: unknown) => found.get(id as string)?.deleted === true
    fitting = fitting.map((row) =>
      isDeleted(row.next[field]) ? afterDeletion(reference, row) : row,
    )
  }
  return fitting
}

function afterDeletion({ field, onDelete }: Referring, row: Row): Row {
  if (onDelete === 'clear') return { ...row, next: { ...row.next, [field]: null }, corrected: true }
  // A tombstone may refer to another one.
  return row.nextDeleted ? row : { ...row, takenBy: field, corrected: true }
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
