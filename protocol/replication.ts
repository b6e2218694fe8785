/**
 * The replication wire, as RxDB clients speak it. README.md in this folder is the prose. The wire has
 * two names that are RxDB's own: `lwt` (there a time of last write) is the feed's seq here, and
 * `_deleted` marks a tombstone.
 */
import * as z from 'zod'
import { problemSchema } from './problem.ts'
import type { Document, Resource } from './resource.ts'

export const MAX_PUSH_ROWS = 1_000
export const MAX_PUSH_BYTES = 5 * 1024 * 1024
/** A page that is shorter than asked for means the end, so a larger limit is refused, never cut. */
export const MAX_PULL_LIMIT = 2_000

/** A document on the wire, of whichever resource. */
export const wireDocumentSchema = z.looseObject({
  id: z.string(),
  created_at: z.string(),
  updated_at: z.string(),
  _deleted: z.boolean(),
})
export type WireDocument = Document & { _deleted: boolean }

/** The same of one resource, with all of its fields. */
export function wireDocumentOf(resource: Resource) {
  return resource.document.extend({ _deleted: z.boolean() })
}

/** How far a client has read. Opaque to it: it sends back what it got. */
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
 * expired checkpoints, `changed_since` counts the documents, at the end of the page, that have changed
 * since the history that the client knows was lost.
 */
export const pullResponseSchema = z.strictObject({
  documents: z.array(wireDocumentSchema),
  checkpoint: checkpointSchema,
  changed_since: z.int().nonnegative().optional(),
})
export interface PullResponse {
  documents: WireDocument[]
  checkpoint: Checkpoint
  changed_since?: number | undefined
}

/** The data of a server-sent event: the same, as it happens. */
export const streamEventSchema = pullResponseSchema.omit({ changed_since: true })
export type StreamEvent = z.output<typeof streamEventSchema>

/** What the client wrote, and what it believed to be writing over; absent where it believed there was nothing. */
export const pushRowSchema = z.object({
  newDocumentState: z.looseObject({ id: z.string() }),
  assumedMasterState: z.looseObject({}).nullish(),
})
export type PushRow = z.output<typeof pushRowSchema>

/**
 * What a push is answered with: the stored state of each document that is not as it was sent. In the
 * place of a row that was refused, and of which nothing is stored, stands what was sent, as a tombstone.
 */
export const conflictsSchema = z.array(wireDocumentSchema.pick({ id: true, _deleted: true }))

/** Why a row was not taken. The rest of its batch was. */
export const rejectionSchema = z.strictObject({
  id: z.string(),
  code: problemSchema.shape.code,
  errors: z.record(z.string(), z.array(z.string())),
})
export type Rejection = z.output<typeof rejectionSchema>

/** What a push is answered with for those who ask for `PUSH_RESULT`. */
export const pushResponseSchema = z.strictObject({
  conflicts: conflictsSchema,
  rejected: z.array(rejectionSchema),
  checkpoint: checkpointSchema.optional(),
})
export interface PushResponse {
  conflicts: WireDocument[]
  rejected: Rejection[]
  /** The feed contains the push up to here. Not a checkpoint to pull from. Servers before 0.2 omit it. */
  checkpoint?: Checkpoint | undefined
}
