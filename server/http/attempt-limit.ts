import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { type Counted, createMinuteCounts, WINDOW_MS } from './minute-counts.ts'
import { networksOf } from './networks.ts'

/**
 * Counts an attempt at an operation from an address, or by an account.
 *
 * @throws Problem `too_many_requests`
 */
export type AttemptLimit = (operation: string, who: string | undefined) => Promise<void>

/** Of what a proxy names: no address is as long. */
const MAX_KEY = 100
/** What a wider network may do, in limits of the narrowest: many people share it. */
const SHARES = [1, 4, 16]

/**
 * By the database's clock. Attempts that begin together may be counted in another order, so a window may end
 * somewhat later than one that would begin now. One that ends much later is of a wrong clock, and is over.
 */
const COUNT = `
  insert into rate_limits as r (key, points, expire)
  select ?, 1, now_ms + ${WINDOW_MS} from (select (extract(epoch from now()) * 1000)::bigint as now_ms) clock
  on conflict (key) do update set
    points = case when r.expire between excluded.expire - ${WINDOW_MS - 1} and excluded.expire + ${WINDOW_MS} then r.points + 1 else 1 end,
    expire = case when r.expire between excluded.expire - ${WINDOW_MS - 1} and excluded.expire + ${WINDOW_MS} then r.expire else excluded.expire end
  returning points as count, (expire - extract(epoch from now()) * 1000)::float as left_ms`

/**
 * So many attempts a minute at each operation from each address, on all nodes together; 0 is no
 * limit. An IPv6 address counts at /64, and with more room at /56 and /48. While the database is away each
 * node counts for itself.
 */
export function attemptLimit(db: Database, perMinute: number): AttemptLimit {
  if (perMinute === 0) return async () => {}
  const countHere = createMinuteCounts()
  return async (operation, who) => {
    // What a narrow network is refused does not use up the room of its neighbours.
    for (const [i, network] of networksOf(who ?? '').entries()) {
      const key = `auth:${operation}:${network.slice(0, MAX_KEY)}`
      const { count, left_ms } = await countAttempt(db, key).catch(() => countHere(key))
      if (count > perMinute * SHARES[i]!) throw tooMany(left_ms)
    }
  }
}

export function tooMany(left_ms: number): Problem {
  const seconds = Math.max(1, Math.ceil(left_ms / 1000))
  return new Problem('too_many_requests', `Too many requests; try again in ${seconds} seconds.`, {
    retryAfter: seconds,
  })
}

async function countAttempt(db: Database, key: string): Promise<Counted> {
  const { rows } = await db.raw<{ rows: [Counted] }>(COUNT, [key])
  return rows[0]
}

/** Windows that are over. */
export async function deleteOldAttempts(db: Database): Promise<void> {
  await db('rate_limits').whereRaw('expire < extract(epoch from now()) * 1000').delete()
}
