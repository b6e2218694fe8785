/**
 * The replication wire, as RxDB clients speak it. README.md in this folder is the prose. The wire has
 * two names that are RxDB's own: `lwt` (there a time of last write) is the feed's seq here, and
 * `_deleted` marks a tombstone.
 */
import * as z from 'zod'
import type { FieldErrors, ProblemCode } from './problem.ts'
import type { Document } from './resource.ts'

export const MAX_PUSH_ROWS = 1_000
export const MAX_PUSH_BYTES = 5 * 1024 * 1024
/** A page that is shorter than asked for means the end, so a larger limit is refused, never cut. */
export const MAX_PULL_LIMIT = 2_000

/** A document on the wire. */
export type WireDocument = Document & { _deleted: boolean }

/** How far a client has read. Opaque to it: it sends back what it got. */
export const checkpointSchema = z.strictObject({ id: z.string(), lwt: z.int().nonnegative() })
export type Checkpoint = z.output<typeof checkpointSchema>

export interface PullResponse {
  documents: WireDocument[]
  checkpoint: Checkpoint
}

/** What the client wrote, and what it believed to be writing over; absent where it believed there was nothing. */
export const pushRowSchema = z.object({
  newDocumentState: z.looseObject({ id: z.string() }),
  assumedMasterState: z.looseObject({}).nullish(),
})
export type PushRow = z.output<typeof pushRowSchema>

/** Why a row was not taken. The rest of its batch was. */
export interface Rejection {
  id: string
  code: ProblemCode
  errors: FieldErrors
}

/** What a client that asks for it (`Accept: application/vnd.tasktide.push+json`) is told of its push. */
export interface PushResponse {
  conflicts: WireDocument[]
  rejected: Rejection[]
}
