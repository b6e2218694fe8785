/**
 * A document that is deleted for good is a tombstone without content: it keeps its dates, the initial order
 * key and references that must not be null, and nothing else. So every client stores it like any tombstone.
 */
import { sameValue } from './canonical.ts'
import type { Document, Resource } from './resource.ts'
import type { Unsettled } from './settle.ts'

type Values = Readonly<Record<string, unknown>>

/** Whether these fields have no content. If one is missing, they may have. */
export function isBlank({ fields, blank }: Pick<Resource, 'fields' | 'blank'>, values: Values) {
  return Object.entries(blank).every(([name, value]) =>
    sameValue(fields[name]!, values[name], value),
  )
}

/** The document without its content. `settle` derives the order key. */
export function blanked(
  { fields, fieldNames, blank }: Pick<Resource, 'fields' | 'fieldNames' | 'blank'>,
  document: Document,
): Unsettled {
  const keys = fieldNames.filter((name) => fields[name]!.kind === 'order_key')
  return { ...document, ...blank, ...Object.fromEntries(keys.map((name) => [name, undefined])) }
}

/** Whether a tombstone has what a live document needs. One that was deleted for good does not. */
export function isRestorable({ fields, blank, neverBlank }: Resource, document: Document) {
  return neverBlank.every((name) => !sameValue(fields[name]!, document[name], blank[name]))
}
