/** The Socket.IO events. README.md in this folder explains them; `/api/asyncapi/` is the AsyncAPI document. */
import * as z from 'zod'
import { problemSchema } from './problem.ts'
import { checkpointSchema, wireDocumentSchema } from './replication.ts'

const seq = z.int().nonnegative()

/** Sent with the handshake, as Socket.IO's `auth`. */
export const handshakeSchema = z.strictObject({
  token: z.string().describe('The `access` token.'),
})

const checkpoint = checkpointSchema.describe(
  'The same position as a checkpoint for pulls of any resource.',
)

export const readySchema = z.strictObject({
  seq: seq.describe('The current end of the feed.'),
  checkpoint,
})
export type Ready = z.output<typeof readySchema>

/**
 * Live changes of a user's documents. A frame contains the changes of all resources after `prev` up to
 * `seq`, each document once. A client that has everything up to `prev` applies it. Otherwise, or if the
 * frame has no documents, the client pulls.
 */
export const frameSchema = z.strictObject({
  prev: seq.describe('The end of the previous frame; this frame contains the changes after it.'),
  seq: seq.describe('The position of a client that has applied the frame.'),
  checkpoint,
  documents: z
    .record(z.string(), z.array(wireDocumentSchema))
    .optional()
    .describe('By resource; omitted if there are too many, or the client reads too slowly.'),
})
export type Frame = z.output<typeof frameSchema>

export const renewalResultSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    expires_at: z.iso.datetime().describe('When the new token expires.'),
  }),
  z.strictObject({
    ok: z.literal(false),
    code: problemSchema.shape.code.describe('Why the token was rejected.'),
  }),
])
export type RenewalResult = z.output<typeof renewalResultSchema>

export interface ServerEvents {
  /** The first event: frames follow without a gap. A client that is behind this position pulls. */
  ready(state: Ready): void
  changes(frame: Frame): void
}

export interface ClientEvents {
  /** Replaces the access token by another one of the same session, before it expires. */
  renew(token: string, acknowledge: (result: RenewalResult) => void): void
}
