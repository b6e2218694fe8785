/**
 * The wire format of replication, compatible with RxDB's clients. README.md in this folder explains it. Two
 * names are RxDB's: `lwt` (there the time of the last write) is the feed's `seq` here, and `_deleted` marks
 * a tombstone.
 */
import * as z from 'zod'
import { missing, problemSchema } from './problem.ts'
import type { Document, Resource } from './resource.ts'

export const MAX_PUSH_ROWS = 1_000
export const MAX_PUSH_BYTES = 5 * 1024 * 1024
/** To RxDB's clients, a page shorter than the limit is the last one, so a larger limit is rejected instead of reduced. */
export const MAX_PULL_LIMIT = 2_000

/** A document of any resource in wire form. */
export const wireDocumentSchema = z.looseObject({
  id: z.string(),
  created_at: z.string(),
  updated_at: z.string(),
  _deleted: z.boolean(),
})
export type WireDocument = Document & { _deleted: boolean }

/**
 * A document of this resource in wire form, with all fields. The same schema at each call, so that
 * descriptions can name it.
 */
export function wireDocumentOf(resource: Resource) {
  const schema =
    wireDocuments.get(resource) ??
    resource.document.extend({ ...orBlank(resource), _deleted: z.boolean() })
  wireDocuments.set(resource, schema)
  return schema
}

const wireDocuments = new WeakMap<Resource, z.ZodObject>()

/** The fields that are blank in tombstones without content only. */
function orBlank({ neverBlank, fields, blank }: Resource): Record<string, z.ZodType> {
  return Object.fromEntries(
    neverBlank.map((name) => {
      const { schema, description, max } = fields[name]!
      const isText = blank[name] === '' && max !== undefined
      const orBlank = isText
        ? z.string().max(max)
        : z.union([schema, z.literal(blank[name] as string)])
      return [name, orBlank.describe(description)]
    }),
  )
}

/** A client's position in the feed. Opaque to the client, which returns it unchanged. */
export const checkpointSchema = z.strictObject({ id: z.string(), lwt: z.int().nonnegative() })
export type Checkpoint = z.output<typeof checkpointSchema>

/**
 * The value of `REPLICA_HEADER`, as JSON: what the client holds. `seen` has the checkpoints of the latest responses that the client
 * has stored, such as that of its latest push. `expired` has those that the client relied on before they
 * expired, while it takes a snapshot because of that.
 */
export const replicaSchema = z.strictObject({
  seen: z.array(checkpointSchema).max(3).optional(),
  expired: z.array(checkpointSchema).max(3).optional(),
})
export type ReplicaState = z.output<typeof replicaSchema>

/**
 * The response to a pull: the changes after a checkpoint, and the next checkpoint. For a client with
 * expired checkpoints, `missing` says what has become of documents that the client has and the server does
 * not: the server has lost them, or they were deleted and their tombstones are purged. If it has lost some,
 * `changed_since` counts the documents, at the end of the page, that have changed since.
 *
 * `has_more` is for clients that accept `PULL_RESULT`: whether more changes may follow. Servers of earlier
 * releases omit it; then a page shorter than the limit is the last one.
 */
export const pullResponseSchema = z.strictObject({
  documents: z.array(wireDocumentSchema),
  checkpoint: checkpointSchema,
  has_more: z.boolean().optional(),
  changed_since: z.int().nonnegative().optional(),
  missing: missing.optional(),
})
export interface PullResponse {
  documents: WireDocument[]
  checkpoint: Checkpoint
  has_more?: boolean | undefined
  changed_since?: number | undefined
  missing?: Missing | undefined
}
export type Missing = z.output<typeof missing>

/**
 * The result of a comparison with the documents of a client, at its checkpoint. `behind`: the resource has
 * changed since, so they cannot be compared. `incomparable`: the client has other fields. With `different`,
 * `buckets` has the digests of the server's documents, see digest.ts.
 */
export const digestResponseSchema = z.strictObject({
  result: z.enum(['equal', 'different', 'behind', 'incomparable']),
  buckets: z.array(z.string()).optional(),
})
export type DigestResponse = z.output<typeof digestResponseSchema>

/** The data of a server-sent event: the same, as it happens. */
export const streamEventSchema = pullResponseSchema.omit({
  has_more: true,
  changed_since: true,
  missing: true,
})

/** The new state of a document, and the state that the client expects on the server; absent if it expects none. */
export const pushRowSchema = z.object({
  newDocumentState: z.looseObject({ id: z.string() }),
  assumedMasterState: z.looseObject({}).nullish(),
})
export type PushRow = z.output<typeof pushRowSchema>

/** Whether this is a row as `pushRowSchema` has it, many times quicker. */
export function isPushRow(row: unknown): row is PushRow {
  if (!isState(row)) return false
  const { newDocumentState: next, assumedMasterState: assumed } = row
  return isState(next) && typeof next.id === 'string' && (assumed == null || isState(assumed))
}

const isState = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The response to a push: the stored state of each document that differs from the pushed one. For a rejected
 * row without a stored document, it contains the pushed state as a tombstone.
 */
export const conflictsSchema = z.array(wireDocumentSchema.pick({ id: true, _deleted: true }))

/** Why a row was rejected. The other rows of its batch are not affected. */
export const rejectionSchema = z.strictObject({
  id: z.string(),
  code: z
    .enum([...problemSchema.shape.code.options, 'unknown_field'])
    .describe(
      'A code of a problem, or `unknown_field`: the row is valid except for fields that this server does not know. The client is newer: keep the row, and send it again later.',
    ),
  errors: z.record(z.string(), z.array(z.string())),
  unknown_fields: z
    .array(z.string())
    .optional()
    .describe(
      'With `unknown_field`: the names of these fields. A row that does not change them can be sent again without them.',
    ),
})
export type Rejection = z.output<typeof rejectionSchema>

/** The response to a push for clients that accept `PUSH_RESULT`. */
export const pushResponseSchema = z.strictObject({
  conflicts: conflictsSchema,
  rejected: z.array(rejectionSchema),
  checkpoint: checkpointSchema.optional(),
})
export interface PushResponse {
  conflicts: WireDocument[]
  rejected: Rejection[]
  /** The feed contains the push up to here. Not a checkpoint to pull from. Servers of the first release omit it. */
  checkpoint?: Checkpoint | undefined
}
