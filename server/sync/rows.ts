import { hash } from 'node:crypto'
import {
  type FieldErrors,
  id as idSchema,
  isDeeperThan,
  type PushRow,
  type Resource,
} from '../../protocol/index.ts'
import type { Row } from './judge.ts'

/** A row that cannot be taken, with what the client sent. */
export interface Refusal {
  readonly id: string
  readonly sent: Readonly<Record<string, unknown>>
  /** What the client believed to write over, in its own form. */
  readonly assumed: Readonly<Record<string, unknown>> | undefined
  readonly errors: FieldErrors
}

export interface Reading {
  readonly rows: readonly Row[]
  readonly refusals: readonly Refusal[]
}

type Fields = Record<string, unknown>

/** What is deeper could not be written down again, so of such a row nothing is kept but its id. */
const MAX_DEPTH = 100
const isTooDeep = (fields: unknown) => isDeeperThan(MAX_DEPTH, fields)

/** A message may list every unknown name of a row. */
const MAX_MESSAGE = 300

/** Reads a pushed batch. What is wrong with a row refuses that row alone. */
export function readRows(resource: Resource, user: string, pushed: readonly PushRow[]): Reading {
  const rows: Row[] = []
  const refusals: Refusal[] = []
  for (const { newDocumentState: sent, assumedMasterState: assumed } of pushed) {
    if (isTooDeep(sent) || isTooDeep(assumed)) {
      const errors = { '': [`Nest objects and lists at most ${MAX_DEPTH} deep.`] }
      refusals.push({ id: sent.id, sent: { id: sent.id }, assumed: undefined, errors })
      continue
    }
    const read = readRow(resource, user, sent, assumed ?? undefined)
    if ('errors' in read)
      refusals.push({ id: sent.id, sent, assumed: assumed ?? undefined, errors: read.errors })
    else rows.push(read.row)
  }
  return { rows, refusals }
}

function readRow(
  resource: Resource,
  user: string,
  sent: Fields,
  assumed: Fields | undefined,
): { row: Row } | { errors: FieldErrors } {
  const { _deleted: nextDeleted = false, ...fields } = sent
  const { success, data, error } = resource.partial.safeParse(fields)
  const errors: FieldErrors = Object.create(null)
  for (const issue of error?.issues ?? []) {
    const name = issue.path.join('.')
    errors[name] = [...(errors[name] ?? []), issue.message.slice(0, MAX_MESSAGE)]
  }
  if (typeof nextDeleted !== 'boolean') errors._deleted = ['Write true or false.']
  if (resource.readOnly) errors[''] = [`${resource.name} are kept by the server.`]
  if (resource.singleton && success && data.id !== user) errors.id = ['There is only your own.']
  if (resource.singleton && nextDeleted) errors._deleted = [`A ${resource.singular} stays.`]
  if (!success || Object.keys(errors).length > 0) return { errors: { ...errors } }
  const { id, ...next } = data as Fields & { id: string }
  const row = {
    id,
    next,
    nextDeleted: nextDeleted as boolean,
    assumed: assumed && readAssumed(resource, assumed),
    assumedDeleted: assumed?._deleted === true,
  }
  return { row: { ...row, mark: markOf(row) } }
}

/**
 * Tells an edit that is pushed again from one that only looks like it. Only its date does: whoever
 * keeps no `updated_at` may make the same change twice, and mean it.
 */
function markOf(row: Row): number | undefined {
  const { updated_at } = row.next
  if (updated_at === undefined || updated_at === row.assumed?.updated_at) return undefined
  return Number.parseInt(hash('sha256', JSON.stringify(row)).slice(0, MARK_DIGITS), 16)
}

/** As many as a number holds exactly: 48 bits. */
const MARK_DIGITS = 12

/**
 * What the client believes is stored, in the form in which it would be. It may believe anything: what
 * no document could say is no base for a merge.
 */
function readAssumed(resource: Resource, assumed: Fields): Fields | undefined {
  const { shape } = resource.document
  const known = Object.entries(assumed).filter(([name]) => Object.hasOwn(shape, name))
  const parsed = resource.partial.safeParse(Object.fromEntries(known))
  if (!parsed.success) return undefined
  const { id: _, ...fields } = parsed.data
  return fields
}

/** Rows that would create a document, but do not say all that it must have. */
export function withoutIncomplete(
  resource: Resource,
  { rows, refusals }: Reading,
  isStored: (id: string) => boolean,
): Reading {
  const complete: Row[] = []
  const incomplete: Refusal[] = []
  const created = new Set<string>()
  for (const row of rows) {
    const missing =
      isStored(row.id) || created.has(row.id)
        ? []
        : resource.required.filter((name) => row.next[name] === undefined)
    if (missing.length === 0) {
      created.add(row.id)
      complete.push(row)
      continue
    }
    const errors = Object.fromEntries(missing.map((name) => [name, ['Required.']]))
    const { id, next, assumed } = row
    incomplete.push({ id, sent: { id, ...next }, assumed, errors })
  }
  return { rows: complete, refusals: [...refusals, ...incomplete] }
}

const documentId = idSchema()

export const isDocumentId = (id: string) => documentId.safeParse(id).success

/** The id in the form in which it is stored; undefined where no document can have it. */
export const documentIdOf = (id: string) => documentId.safeParse(id).data
