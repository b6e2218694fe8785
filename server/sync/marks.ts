/**
 * Marks, by which a document remembers what was done to it (docs/decisions/0010-an-edit-is-taken-once.md): positive
 * ones of edits, negative ones of creations, which edits do not displace.
 */
import { hash } from 'node:crypto'
import { type Resource, sameIn, settle, type Unsettled } from '../../protocol/index.ts'

/** The mark of a creation on a device is its negated date. */
export const birthMark = (born: unknown) => -Date.parse(born as string)
export const isBirth = (mark: number) => mark < 0

/** 48 bits, which a number holds exactly. */
const MARK_DIGITS = 12
/** No date is as far from 1970, in milliseconds. */
const BEYOND_DATES = 2 ** 48

export const markOfText = (text: string) =>
  Number.parseInt(hash('sha256', text).slice(0, MARK_DIGITS), 16)

/**
 * The mark of a creation over REST, by the fields that were given: dates are the server's. A field that was given
 * its initial value counts as omitted.
 */
export function creationMark(resource: Resource, input: Unsettled): number {
  const at = new Date(0).toISOString()
  const settled = settle(resource, { ...input, created_at: at }, undefined, at)
  const given = resource.writable
    .filter(
      (name) => input[name] !== undefined && !sameIn(resource, name, settled, resource.initial),
    )
    .map((name) => [name, settled[name]])
  return -BEYOND_DATES - markOfText(JSON.stringify([input.id, given]))
}
