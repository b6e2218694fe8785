import { type Resource, resources } from '../../protocol/index.ts'
import type { Row } from './judge.ts'
import type { Transaction } from './store.ts'

/**
 * Makes what rows refer to fit: a document may arrive before the one it refers to, for which a
 * placeholder is put; one that refers to a deleted document refers to nothing, as if it had been
 * there when that was deleted.
 */
export async function withReferences(
  transaction: Transaction,
  resource: Resource,
  rows: readonly Row[],
): Promise<readonly Row[]> {
  let fitting = rows
  for (const name of resource.fieldNames) {
    const { references } = resource.fields[name]!
    if (references === undefined) continue
    const target: Resource = resources[references as keyof typeof resources]
    const values = rows.map(({ next }) => next[name])
    const ids = [...new Set(values.filter((value) => typeof value === 'string'))]
    if (ids.length === 0) continue
    const found = await transaction.read(target, ids)
    await transaction.placehold(
      target,
      ids.filter((id) => !found.has(id)),
    )
    const isDeleted = (id: unknown) => found.get(id as string)?.deleted === true
    fitting = fitting.map((row) =>
      isDeleted(row.next[name])
        ? { ...row, next: { ...row.next, [name]: null }, corrected: true }
        : row,
    )
  }
  return fitting
}
