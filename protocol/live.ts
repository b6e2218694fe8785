/** The events of Socket.IO. README.md in this folder is the prose, `/api/asyncapi/` the description. */
import * as z from 'zod'
import { problemSchema } from './problem.ts'
import { checkpointSchema, wireDocumentSchema } from './replication.ts'

const seq = z.int().nonnegative()

/** Sent with the handshake, as Socket.IO's `auth`. */
export const handshakeSchema = z.strictObject({
  token: z.string().describe('The `access` token.'),
})

const checkpoint = checkpointSchema.describe('The same for the next pull, of any resource.')

export const readySchema = z.strictObject({
  seq: seq.describe('How far the feed is.'),
  checkpoint,
})
export type Ready = z.output<typeof readySchema>

/**
 * What happens to a person's documents, as it happens. A frame carries the changes after `prev` up
 * to `seq`, of all kinds, each document once. A client that has everything up to `prev` applies it;
 * any other, and any client that gets a frame without documents, pulls.
 */
export const frameSchema = z.strictObject({
  prev: seq.describe('Where the frame before ended: the changes are those after this.'),
  seq: seq.describe('What a client has come to that has applied the frame.'),
  checkpoint,
  documents: z
    .record(z.string(), z.array(wireDocumentSchema))
    .optional()
    .describe('By resource; left out when there are too many, or the client reads too slowly.'),
})
export type Frame = z.output<typeof frameSchema>

export const renewalResultSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    expires_at: z.iso.datetime().describe('When the token that is now in use runs out.'),
  }),
  z.strictObject({
    ok: z.literal(false),
    code: problemSchema.shape.code.describe('Why the token was refused.'),
  }),
])
export type RenewalResult = z.output<typeof renewalResultSchema>

export interface ServerEvents {
  /** The first event: from here on nothing is left out. A client that has not come so far pulls. */
  ready(state: Ready): void
  changes(frame: Frame): void
}

export interface ClientEvents {
  /** Goes on with another access token of the same session, before the current one expires. */
  renew(token: string, acknowledge: (result: RenewalResult) => void): void
}
