import type { Database } from '../database/connect.ts'
import { type Counted, createMinuteCounts, WINDOW_MS } from './minute-counts.ts'
import { networksOf } from './networks.ts'
import { type Policy, type Room, tooMany } from './rate-limit-fields.ts'

/**
 * Counts an attempt at an operation from an address, or by an account.
 *
 * @returns what is left; undefined without a limit
 * @throws Problem `too_many_requests`
 */
export type AttemptLimit = (operation: string, who: string | undefined) => Promise<Room | undefined>

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
  select ?, 1, now_ms + ${WINDOW_MS} from (select floor(extract(epoch from now()) * 1000)::bigint as now_ms) clock
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
  if (perMinute === 0) return async () => undefined
  const policy: Policy = { name: 'attempts', perMinute, setting: 'AUTH_RATE_LIMIT' }
  const countHere = createMinuteCounts()
  return async (operation, who) => {
    let room: Room = { policy, remaining: perMinute, left_ms: WINDOW_MS }
    // What a narrow network is refused does not use up the room of its neighbours.
    for (const [i, network] of networksOf(who ?? '').entries()) {
      const key = `auth:${operation}:${network.slice(0, MAX_KEY)}`
      const { count, left_ms } = await countAttempt(db, key).catch(() => countHere(key))
      const remaining = perMinute * SHARES[i]! - count
      if (remaining < 0) throw tooMany(policy, left_ms)
      if (remaining < room.remaining) room = { policy, remaining, left_ms }
    }
    return room
  }
}

async function countAttempt(db: Database, key: string): Promise<Counted> {
  const { rows } = await db.raw<{ rows: [Counted] }>(COUNT, [key])
  return rows[0]
}

/** Windows that are over. */
export async function deleteOldAttempts(db: Database): Promise<void> {
  await db('rate_limits').whereRaw('expire < extract(epoch from now()) * 1000').delete()
}
