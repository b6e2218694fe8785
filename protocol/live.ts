import type { WireDocument } from './replication.ts'

/**
 * What happens to a person's documents, as it happens. A frame carries the changes after `prev` up
 * to `seq`, of all kinds, each document once. A client that has everything up to `prev` applies it;
 * any other, and any client that gets a frame without documents, pulls.
 */
export interface Frame {
  prev: number
  seq: number
  /** By resource; left out when there are too many, or the client reads too slowly. */
  documents?: Record<string, WireDocument[]>
}

export interface ServerEvents {
  /** The first event: from here on nothing is left out. A client that has not come so far pulls. */
  ready(state: { seq: number }): void
  changes(frame: Frame): void
}

export type RenewalResult = { ok: true; expires_at: string } | { ok: false; code: string }

export interface ClientEvents {
  /** Goes on with another access token of the same session, before the current one expires. */
  renew(token: string, acknowledge: (result: RenewalResult) => void): void
}

/** Sent with the handshake, as Socket.IO's `auth`. */
export interface Handshake {
  token: string
}
