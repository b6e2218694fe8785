import { filterInMemoryFields, massageSelector } from 'pouchdb-selector-core'
import { badRequest } from './refusal.ts'

/** What a client wants of a feed. */
export interface Filter {
  /** Whether it reads contents. */
  readonly withBodies: boolean
  matches(id: string, text: () => string): boolean
}

/** Documents with these ids. */
export function idFilter(ids: readonly unknown[]): Filter {
  const wanted = new Set(ids)
  return { withBodies: false, matches: (id) => wanted.has(id) }
}

export const designFilter: Filter = {
  withBodies: false,
  matches: (id) => id.startsWith('_design/'),
}

/** A selector is evaluated for each document of a feed. */
const MAX_SELECTOR = 4_096

/** Documents that match a selector. @throws Refusal */
export function selectorFilter(selector: unknown): Filter {
  if (typeof selector !== 'object' || selector === null || Array.isArray(selector))
    throw badRequest('Selector error: expected a JSON object')
  const text = JSON.stringify(selector)
  if (text.length > MAX_SELECTOR)
    throw badRequest(`A selector has at most ${MAX_SELECTOR} characters.`)
  // One expression can occupy the server for hours.
  if (hasName(selector, '$regex'))
    throw badRequest('This server evaluates no $regex; use $gte and $lt for a prefix.')
  const massaged = valid(() => massageSelector(selector))
  const fields = Object.keys(massaged)
  const matches = (document: object) =>
    valid(() => filterInMemoryFields([{ doc: document }], { selector: massaged }, fields)).length >
    0
  matches({ _id: 'any' })
  return { withBodies: true, matches: (_id, text) => matches(JSON.parse(text())) }
}

function hasName(value: unknown, name: string): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(([own, inner]) => own === name || hasName(inner, name))
}

/** @throws Refusal instead of any error: the package throws whatever an invalid selector leads to */
function valid<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw badRequest(`Invalid selector: ${(error as Error).message}`)
  }
}
