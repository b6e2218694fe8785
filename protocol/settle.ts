import { canonical } from './canonical.ts'
import { orderKeyAt } from './order-key.ts'
import type { Document, Resource } from './resource.ts'

/** A document on its way to being stored: what `settle` keeps may still be missing. */
export interface Unsettled {
  id: string
  created_at?: string
  updated_at?: string
  [field: string]: unknown
}

/**
 * What both ends make of a document before they keep it, so that a device offline holds what the
 * server will store. Pure. Settling twice over the same `previous` changes nothing.
 *
 * - absent fields are their initial values; an unplaced document goes after the older ones;
 * - each value is in its canonical form (`canonical.ts`);
 * - `created_at` is fixed at creation, by whoever creates, and not ahead of `now`;
 * - `updated_at` is when the edit was made, not ahead of `now`, not before the creation, and later than
 *   before even where the clock is not: so the states of a document are in the order of their
 *   `updated_at`;
 * - a stamp (`completed_at`) is set when its flag becomes true, kept while it stays, and cleared.
 *
 * @param next what is to be kept
 * @param previous what is kept now, unless this is a creation
 * @param now UTC instant with milliseconds, on the clock of whoever settles
 */
export function settle(
  resource: Resource,
  next: Unsettled,
  previous: Document | undefined,
  now: string,
): Document {
  // Assigned, because spreading both into one literal takes many times as long.
  const settled = Object.assign({}, resource.initial, next) as Document
  settled.created_at = previous?.created_at ?? earlier(next.created_at ?? now, now)
  settled.updated_at = later(
    earlier(next.updated_at ?? now, now),
    previous ? justAfter(previous) : settled.created_at,
  )
  for (const [stamp, flag] of Object.entries(resource.stamps)) {
    if (!settled[flag]) settled[stamp] = null
    else if (previous?.[flag]) settled[stamp] = previous[stamp]
    else settled[stamp] = earlier((next[stamp] as string | null | undefined) ?? now, now)
  }
  for (const name of resource.fieldNames) {
    const field = resource.fields[name]!
    const value = canonical(field, settled[name])
    if (value !== settled[name]) settled[name] = value
    if (field.kind !== 'order_key') continue
    if (settled[name] === undefined || (!previous && isUnplaced(next, name)))
      settled[name] = orderKeyAt(settled.created_at, settled.id)
  }
  return settled
}

/** Whether nobody has chosen this order key: it only says when the document claims to be created. */
export function isUnplaced(document: Unsettled, field: string): boolean {
  const { id, created_at } = document
  return created_at !== undefined && document[field] === orderKeyAt(created_at, id)
}

// Instants are all of one form, so that text order is time order.
const earlier = (a: string, b: string) => (a < b ? a : b)
const later = (a: string, b: string | undefined) => (b !== undefined && b > a ? b : a)

const justAfter = ({ updated_at }: Document) => new Date(Date.parse(updated_at) + 1).toISOString()
