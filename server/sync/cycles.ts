import { changeTimes, type Resource, settle } from '../../protocol/index.ts'
import type { Judgement, Loss, State } from './judge.ts'
import { treesOf } from './references.ts'
import type { Transaction } from './store.ts'

/**
 * Breaks cycles, which arise when two devices make each of two documents the parent of the other. The newest
 * reference of a cycle is cleared and journaled, so the result does not depend on the order of the pushes.
 */
export async function withoutCycles(
  transaction: Transaction,
  resource: Resource,
  judgement: Judgement,
  now: string,
): Promise<Judgement> {
  let acyclic = judgement
  for (const field of treesOf(resource)) {
    const ids = acyclic.writes.map(({ document }) => document[field]).filter(isId)
    if (ids.length === 0) continue
    const above = await transaction.above(resource, field, ids)
    acyclic = withoutCyclesOf(resource, field, acyclic, above, now)
  }
  return acyclic
}

/** The same for one field. Pure: `above` has all ancestors of the written documents. */
export function withoutCyclesOf(
  resource: Resource,
  field: string,
  { writes, conflicts, losses }: Judgement,
  above: ReadonlyMap<string, State>,
  now: string,
): Judgement {
  const written = new Map(writes.map((state) => [state.document.id, state]))
  const stateOf = (id: string) => written.get(id) ?? above.get(id)
  const answers = new Map(conflicts.map((state) => [state.document.id, state]))
  const gaveWay: Loss[] = []
  for (const { document } of writes) {
    const circle = circleFrom(document.id, field, stateOf)
    if (circle.length === 0) continue
    const last = circle.reduce((a, b) => (isMadeAfter(field, b, a) ? b : a))
    const { id } = last.document
    const cleared = clear(resource, field, last, now)
    if (written.has(id)) answers.set(id, cleared)
    written.set(id, cleared)
    const at = new Date(madeAt(field, last)).toISOString()
    const [lost, kept] = [{ [field]: last.document[field] }, { [field]: null }]
    gaveWay.push({ id, cause: 'edit', lost, kept, lostAt: at, dated: at })
  }
  if (gaveWay.length === 0) return { writes, conflicts, losses }
  return {
    writes: [...written.values()],
    conflicts: [...answers.values()],
    losses: [...losses, ...gaveWay],
  }
}

/** The documents of the cycle through this document; empty if there is none. */
function circleFrom(
  id: string,
  field: string,
  stateOf: (id: string) => State | undefined,
): State[] {
  const met = new Map<string, State>()
  for (let at: unknown = id; isId(at) && !met.has(at); ) {
    const state = stateOf(at)
    if (!state) return []
    met.set(at, state)
    at = state.document[field]
    if (at === id) return [...met.values()]
  }
  return []
}

function clear(resource: Resource, field: string, state: State, now: string): State {
  const next = { ...state.document, [field]: null, updated_at: now }
  const cleared = { ...state, document: settle(resource, next, state.document, now) }
  return { ...cleared, changed: changeTimes(resource, state, cleared) }
}

/** An unchanged field is as old as the document. */
function madeAt(field: string, { document, changed }: State): number {
  return changed?.[field] ?? Date.parse(document.created_at)
}

function isMadeAfter(field: string, a: State, b: State): boolean {
  const [at, other] = [madeAt(field, a), madeAt(field, b)]
  return at === other ? a.document.id > b.document.id : at > other
}

const isId = (value: unknown): value is string => typeof value === 'string'
