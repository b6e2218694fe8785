import type { Database } from '../database/connect.ts'
import { REFRESH_SECONDS } from './tokens.ts'

/**
 * How long a refresh token can be used again after its first renewal, whatever happened to the answer: tabs
 * that renew at once, and retries after the patience of a client.
 */
const GRACE_MS = 60_000
const DAY_SECONDS = 24 * 60 * 60

/** The newest refresh token of a session. */
export interface Renewed {
  generation: number
  /** When the session ends without another renewal. */
  expires_at: Date
}

interface Row extends Renewed {
  seen_generation: number
  renewed_from: number | null
  renewed_to: number | null
  renewed_at: Date | null
}

interface RefreshToken {
  user: string
  session: string
  generation: number
}

type Live = (user: string, session: string) => ReturnType<Database>

/**
 * Renewals of refresh tokens (docs/decisions/0040-copied-tokens.md). A session has the generation of its newest
 * token. The newest can be renewed. The one before it, whose answer may have been lost, can be
 * renewed again within a minute, and for as long as nobody has used anything of its successor.
 *
 * @param live the session, if it is active
 * @param sessionDays the absolute lifetime of sessions
 */
export function createRenewals(
  db: Database,
  live: Live,
  { sessionDays, now }: { sessionDays: number; now: () => Date },
) {
  return {
    /** @returns undefined if the token is too old: somebody has a copy of it; or if the session has ended */
    async renew(token: RefreshToken): Promise<Renewed | undefined> {
      const renewed = await renewNewest(token)
      if (renewed) return renewed
      const row = await good(token)
      if (!row || !isLate(row)) return row
      // Where another request has just done it, its token is good now.
      return (await renewUnseen(token)) ?? good(token)
    },

    /** Whether the token could be renewed now. */
    async isGood(token: RefreshToken): Promise<boolean> {
      return (await good(token)) !== undefined
    },

    /** When a session that begins now ends without a renewal. */
    firstEnd: (moment: Date) =>
      inDays(moment, Math.min(sessionDays, REFRESH_SECONDS / DAY_SECONDS)),
  }

  /** A generation from the future was issued before the database lost its last commits. */
  async function renewNewest({ user, session, generation }: RefreshToken) {
    const [row] = await live(user, session)
      .andWhere('generation', '<=', generation)
      .update({
        ...renewedNow(),
        generation: generation + 1,
        renewed_from: generation,
        renewed_to: generation + 1,
      })
      .returning<Renewed[]>(RENEWED)
    return row
  }

  /** Nobody has used the successor, so its answer was lost. It may be on its way to somebody else: it gives way. */
  async function renewUnseen({ user, session, generation }: RefreshToken) {
    const next = db.raw('generation + 1')
    const [row] = await live(user, session)
      .andWhere({ renewed_from: generation })
      .andWhere('renewed_at', '<', before())
      .andWhereRaw('renewed_to = generation and seen_generation < generation')
      .update({ ...renewedNow(), generation: next, renewed_to: next })
      .returning<Renewed[]>(RENEWED)
    return row
  }

  function renewedNow() {
    const moment = now()
    return {
      renewed_at: moment,
      last_seen_at: moment,
      expires_at: db.raw(
        `least(?::timestamptz, (created_at at time zone 'UTC' + ?::interval) at time zone 'UTC')`,
        [inDays(moment, REFRESH_SECONDS / DAY_SECONDS), `${sessionDays} days`],
      ),
    }
  }

  /** The session, if the token is its newest one, or the one before it and may be used again. */
  async function good({ user, session, generation }: RefreshToken): Promise<Row | undefined> {
    const row = await live(user, session).first<Row | undefined>(
      ...RENEWED,
      'seen_generation',
      'renewed_from',
      'renewed_to',
      'renewed_at',
    )
    return row && isGood(row, generation) ? row : undefined
  }

  function isGood(row: Row, generation: number): boolean {
    if (generation >= row.generation) return true
    // A node of the release before has renewed it, and remembers less.
    if (row.renewed_to !== row.generation) return generation === row.generation - 1
    if (generation !== row.renewed_from) return false
    return !isLate(row) || row.seen_generation < row.generation
  }

  function isLate({ renewed_to, renewed_at, generation }: Row): boolean {
    return renewed_to === generation && renewed_at! < before()
  }

  function before(): Date {
    return new Date(now().getTime() - GRACE_MS)
  }
}

const RENEWED = ['generation', 'expires_at'] as const

const inDays = (moment: Date, days: number) =>
  new Date(moment.getTime() + days * DAY_SECONDS * 1000)
