import { canonical } from './canonical.ts'
import { orderKeyAt } from './order-key.ts'
import type { Document, Resource } from './resource.ts'

/** A document before `settle`, which fills in missing fields. */
export interface Unsettled {
  id: string
  created_at?: string
  updated_at?: string
  [field: string]: unknown
}

/**
 * Normalizes a document before it is stored, identically on client and server, so that an offline device has
 * what the server will store. Pure and idempotent for the same `previous`.
 *
 * - missing fields get their initial values; a document without a position goes after older ones;
 * - each value is in its canonical form (`canonical.ts`);
 * - `created_at` is set by the creator and never changes; it is not ahead of `now`, and without it, it is `updated_at`;
 * - `updated_at` is the time of the edit, not ahead of `now`, not before the creation, and always later than
 *   before, whatever the clock says: so the states of a document are ordered by `updated_at`;
 * - a stamp (`completed_at`) is set when its flag becomes true, kept while it stays, and cleared.
 *
 * @param next the new document
 * @param previous the stored document; undefined for a creation
 * @param now UTC instant with milliseconds, by the local clock
 */
export function settle(
  resource: Resource,
  next: Unsettled,
  previous: Document | undefined,
  now: string,
): Document {
  // Object.assign, because spreading is many times slower.
  const settled = Object.assign({}, resource.initial, next) as Document
  settled.created_at =
    previous?.created_at ?? earlier(next.created_at ?? next.updated_at ?? now, now)
  const made = earlier(next.updated_at ?? now, now)
  if (!previous) settled.updated_at = later(made, settled.created_at)
  else settled.updated_at = made > previous.updated_at ? made : justAfter(previous)
  for (const stamp in resource.stamps) {
    const flag = resource.stamps[stamp]!
    if (!settled[flag]) settled[stamp] = null
    else if (previous?.[flag]) settled[stamp] = previous[stamp]
    else settled[stamp] = earlier((next[stamp] as string | null | undefined) ?? now, now)
  }
  for (const name of resource.fieldNames) {
    const field = resource.fields[name]!
    const value = canonical(field, settled[name])
    if (value !== settled[name]) settled[name] = value
    if (field.kind !== 'order_key') continue
    const isRedated = !previous && settled.created_at !== next.created_at
    if (settled[name] === undefined || (isRedated && isUnplaced(next, name)))
      settled[name] = orderKeyAt(settled.created_at, settled.id)
  }
  return settled
}

/** Whether this is the initial order key, which is derived from the creation date. */
export function isUnplaced(document: Unsettled, field: string): boolean {
  const { id, created_at } = document
  return created_at !== undefined && document[field] === orderKeyAt(created_at, id)
}

// All instants have the same form, so text order is time order.
const earlier = (a: string, b: string) => (a < b ? a : b)
const later = (a: string, b: string) => (b > a ? b : a)

const justAfter = ({ updated_at }: Document) => new Date(Date.parse(updated_at) + 1).toISOString()
