import {
  type FieldErrors,
  id as idSchema,
  isBlank,
  isDeeperThan,
  isPlainId,
  type PushRow,
  type Rejection,
  type Resource,
  remedyFor,
} from '../../protocol/index.ts'
import type { Row } from './judge.ts'
import { markOfText } from './marks.ts'
import type { Pause } from './pause.ts'
import { plainFields } from './plain-rows.ts'

/** An invalid row, with what the client sent. */
export interface Refusal {
  readonly id: string
  readonly sent: Readonly<Record<string, unknown>>
  /** The state that the client expected on the server, as sent. */
  readonly assumed: Readonly<Record<string, unknown>> | undefined
  /** `unknown_field` if nothing else is wrong: a later release of the server may accept the row. */
  readonly code: Rejection['code']
  readonly errors: FieldErrors
  /** With `unknown_field`: their names. */
  readonly unknownFields?: string[]
}

export interface Reading {
  readonly rows: readonly Row[]
  readonly refusals: readonly Refusal[]
}

type Fields = Record<string, unknown>

/**
 * The fields of a row, and in them as many levels as in a record. What is deeper may have been cut off while
 * it was read, so only the id of such a row is kept.
 */
const MAX_DEPTH = 16
const isTooDeep = (fields: unknown) => isDeeperThan(MAX_DEPTH + 1, fields)

/** Far more than a newer client may have. The schema takes longer for them than for many rows. */
const MAX_UNKNOWN = 50

/** Limits the messages about a row, and one that lists unknown names. */
const MAX_ERRORS = 20
const MAX_MESSAGE = 300

/** Reads a pushed batch. An error rejects only its own row. */
export function readRows(resource: Resource, user: string, pushed: readonly PushRow[]): Reading {
  const reading = emptyReading()
  for (const row of pushed) readInto(reading, resource, user, row)
  return reading
}

/** The same with pauses. */
export async function readInPieces(
  resource: Resource,
  user: string,
  pushed: readonly PushRow[],
  pause: Pause,
): Promise<Reading> {
  const reading = emptyReading()
  for (const row of pushed) {
    readInto(reading, resource, user, row)
    const pausing = pause()
    if (pausing) await pausing
  }
  return reading
}

const emptyReading = () => ({ rows: [] as Row[], refusals: [] as Refusal[] })

function readInto(
  { rows, refusals }: ReturnType<typeof emptyReading>,
  resource: Resource,
  user: string,
  { newDocumentState: sent, assumedMasterState: assumed }: PushRow,
): void {
  const refuse = (message: string) =>
    refusals.push({
      id: sent.id,
      sent: { id: sent.id },
      assumed: undefined,
      code: 'invalid',
      errors: { '': [message] },
    })
  const plain = readPlain(resource, sent, assumed ?? undefined)
  if (plain) rows.push(plain)
  else if (isTooDeep(sent) || isTooDeep(assumed))
    refuse(`Nest objects and lists at most ${MAX_DEPTH} deep.`)
  else if (hasManyUnknown(resource, sent) || hasManyUnknown(resource, assumed ?? {}))
    refuse(`More than ${MAX_UNKNOWN} unknown names.`)
  else {
    const read = readRow(resource, user, sent, assumed ?? undefined)
    if ('errors' in read)
      refusals.push({ id: sent.id, sent, assumed: assumed ?? undefined, ...read })
    else rows.push(read.row)
  }
}

/** What `readRow` would read; undefined if it has to. */
function readPlain(resource: Resource, sent: Fields, assumed: Fields | undefined): Row | undefined {
  if (resource.readOnly || resource.singleton) return undefined
  const { _deleted: nextDeleted = false } = sent
  if (typeof nextDeleted !== 'boolean') return undefined
  const next = plainFields(resource, sent)
  const before = assumed && plainFields(resource, assumed)
  if (!next || (assumed && !before)) return undefined
  return withMark({
    id: sent.id as string,
    next,
    nextDeleted,
    assumed: before,
    assumedDeleted: assumed?._deleted === true,
  })
}

function hasManyUnknown(resource: Resource, fields: Fields): boolean {
  const { shape } = resource.document
  let count = 0
  // Counted without a list of the names, of which there may be very many.
  for (const name in fields) if (!Object.hasOwn(shape, name) && ++count > MAX_UNKNOWN) return true
  return false
}

function readRow(
  resource: Resource,
  user: string,
  sent: Fields,
  assumed: Fields | undefined,
): { row: Row } | Pick<Refusal, 'code' | 'errors' | 'unknownFields'> {
  const { _deleted: nextDeleted = false, ...fields } = sent
  const { success, data, error } = parse(resource, fields, nextDeleted === true)
  const errors: FieldErrors = Object.create(null)
  for (const issue of error?.issues.slice(0, MAX_ERRORS) ?? []) {
    const name = issue.path.join('.')
    errors[name] = [...(errors[name] ?? []), issue.message.slice(0, MAX_MESSAGE)]
  }
  if (typeof nextDeleted !== 'boolean') errors._deleted = ['Use true or false.']
  if (resource.readOnly) errors[''] = [`Only the server can write ${resource.name}.`]
  if (resource.singleton && success && data.id !== user)
    errors.id = ['Use your own id; there is only one such document.']
  if (resource.singleton && nextDeleted)
    errors._deleted = [`A ${resource.singular} cannot be deleted.`]
  if (!success || Object.keys(errors).length > 0) {
    // Errors of the whole document are about unknown names.
    const isUnknown = !resource.readOnly && Object.keys(errors).every((name) => name === '')
    if (!isUnknown) return { code: 'invalid', errors: { ...errors } }
    const isKnown = (name: string) => Object.hasOwn(resource.document.shape, name)
    const unknownFields = Object.keys(fields).filter((name) => !isKnown(name))
    return { code: 'unknown_field', errors: { ...errors }, unknownFields }
  }
  const { id, ...next } = data as Fields & { id: string }
  const row = {
    id,
    next,
    nextDeleted: nextDeleted as boolean,
    assumed: assumed && readAssumed(resource, assumed),
    assumedDeleted: assumed?._deleted === true,
  }
  return { row: withMark(row) }
}

/** @param mayBeBlank whether values that no live document has are valid, if all fields are blank */
function parse(resource: Resource, fields: Fields, mayBeBlank: boolean) {
  const { partial, blank, neverBlank } = resource
  if (!mayBeBlank || !isBlank(resource, fields))
    return partial.safeParse(fields, { error: remedyFor })
  const isValid = ([name]: [string, unknown]) => !neverBlank.includes(name)
  const live = Object.fromEntries(Object.entries(fields).filter(isValid))
  const parsed = partial.safeParse(live, { error: remedyFor })
  return parsed.success ? { ...parsed, data: { ...blank, ...parsed.data } } : parsed
}

const withMark = (row: Row): Row => Object.assign(row, { mark: markOf(row) })

/**
 * Distinguishes a retry from a new edit with the same content, by `updated_at`. Rows without a new
 * `updated_at` cannot be deduplicated.
 */
function markOf(row: Row): number | undefined {
  const { updated_at } = row.next
  if (updated_at === undefined || updated_at === row.assumed?.updated_at) return undefined
  return markOfText(JSON.stringify(row))
}

/**
 * The expected state in stored form. It may contain anything; invalid values are not a base for a merge.
 */
function readAssumed(resource: Resource, assumed: Fields): Fields | undefined {
  const { shape } = resource.document
  const known = Object.entries(assumed).filter(([name]) => Object.hasOwn(shape, name))
  // A device that deletes a document for good has dropped its content from there too.
  const parsed = parse(resource, Object.fromEntries(known), true)
  if (!parsed.success) return undefined
  const { id: _, ...fields } = parsed.data
  return fields
}

/** Rows that would create a document without all required fields. */
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
    incomplete.push({ id, sent: { id, ...next }, assumed, code: 'invalid', errors })
  }
  return { rows: complete, refusals: [...refusals, ...incomplete] }
}

const documentId = idSchema()

export const isDocumentId = (id: string) => isPlainId(id) || documentId.safeParse(id).success

/** The id in stored form; undefined if no document can have it. */
export const documentIdOf = (id: string) => documentId.safeParse(id).data
