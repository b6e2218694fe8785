import { createHash } from 'node:crypto'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

const DAY_MS = 24 * 60 * 60 * 1000

/** So many attempts are free; each one after them doubles the wait, from a second up to a maximum. */
interface Pace {
  free: number
  longest_ms: number
}

/** At one account, from one network or from one device that has signed in to it before. */
const OF_ONE: Pace = { free: 5, longest_ms: 15 * 60 * 1000 }
/** At one account, from all strangers together. */
const OF_ALL: Pace = { free: 10, longest_ms: 60 * 1000 }

/** Who tries to sign in to an account. */
export interface Attempt {
  /** The id of the user, or an unknown name: nothing may tell them apart. */
  account: string
  /** The mark of a device that has signed in to this account before. */
  device: string | undefined
  network: string
}

/**
 * Counts an attempt unless it comes too early, by the database's clock. It counts before the password is
 * compared, so a hundred attempts at the same time are a hundred.
 */
const COUNT = `
  insert into rate_limits as r (key, points, expire)
  select :key, 1, now_ms + ${DAY_MS} from (select (extract(epoch from now()) * 1000)::bigint as now_ms) clock
  on conflict (key) do update set
    points = case when r.expire between excluded.expire - ${DAY_MS} and excluded.expire then r.points + 1 else 1 end,
    expire = excluded.expire
  where r.expire not between excluded.expire - ${DAY_MS} and excluded.expire
    or r.points < :free
    or excluded.expire - r.expire >= least(:longest_ms, 1000 * 2 ^ least(r.points - :free, 30))
  returning points`

const LEFT = `
  select ceil((expire - ${DAY_MS} + least(:longest_ms, 1000 * 2 ^ least(points - :free, 30))
    - extract(epoch from now()) * 1000) / 1000)::int as seconds
  from rate_limits where key = :key`

/**
 * Delays attempts at one account, on all nodes together. A network that guesses waits longer with each wrong
 * password, and all strangers together get one attempt a minute after their first ten. A device that has
 * signed in before has a count of its own, so nobody can lock out an owner. An owner with a new device waits a
 * minute at most, unless the same network guesses too; a password reset ends that wait.
 */
export function signInBackoff(db: Database, { isOff = false } = {}) {
  return {
    /** @throws Problem `too_many_requests` */
    async begin({ account, device, network }: Attempt): Promise<void> {
      if (isOff) return
      const own = keyOf(account, device ?? network)
      await count(own, OF_ONE)
      if (device !== undefined) return
      // Whoever waits for other strangers has not guessed.
      await count(keyOf(account), OF_ALL).catch(async (error) => {
        await db('rate_limits').where({ key: own }).decrement('points', 1)
        throw error
      })
    },

    /** Forgets the attempts. @returns how many strangers had failed since the last success */
    async succeeded({ account, device, network }: Attempt): Promise<number> {
      if (isOff) return 0
      const attempts = await forget([keyOf(account, device ?? network), keyOf(account)])
      const strangers = attempts.find(({ key }) => key === keyOf(account))?.points ?? 0
      return device === undefined ? strangers - 1 : strangers
    },

    /** The owner has proved the address, from this network. */
    async proved(account: string, network: string): Promise<void> {
      await forget([keyOf(account, network), keyOf(account)])
    },
  }

  async function count(key: string, pace: Pace): Promise<void> {
    const counted = await db.raw(COUNT, { key, ...pace })
    if (counted.rows.length > 0) return
    const { rows } = await db.raw<{ rows: { seconds: number }[] }>(LEFT, { key, ...pace })
    const seconds = Math.max(1, rows[0]?.seconds ?? 1)
    throw new Problem(
      'too_many_requests',
      `Too many wrong passwords for this account; try again in ${seconds} seconds, or reset the password.`,
      { retryAfter: seconds },
    )
  }

  async function forget(keys: string[]): Promise<{ key: string; points: number }[]> {
    return db('rate_limits').whereIn('key', keys).delete().returning(['key', 'points'])
  }
}

export type SignInBackoff = ReturnType<typeof signInBackoff>

const keyOf = (...parts: string[]) =>
  `sign_in:${createHash('sha256').update(parts.join('\0')).digest('base64url')}`
