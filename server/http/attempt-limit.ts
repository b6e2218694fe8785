import { isIPv6 } from 'node:net'
import { RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

/**
 * Counts an attempt at an operation from an address, or by an account.
 *
 * @throws Problem `too_many_requests`
 */
export type AttemptLimit = (operation: string, who: string | undefined) => Promise<void>

const WINDOW_SECONDS = 60

/**
 * So many attempts a minute at each operation from each address, on all nodes together; 0 is no
 * limit. While the database is away each node counts for itself.
 */
export function attemptLimit(db: Database, perMinute: number): AttemptLimit {
  if (perMinute === 0) return async () => {}
  const window = { points: perMinute, duration: WINDOW_SECONDS }
  const limiter = new RateLimiterPostgres({
    ...window,
    storeClient: db,
    storeType: 'knex',
    tableName: 'rate_limits',
    tableCreated: true,
    keyPrefix: 'auth',
    insuranceLimiter: new RateLimiterMemory(window),
  })
  return async (operation, who) => {
    try {
      await limiter.consume(`${operation}:${network(who ?? '')}`)
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal
      const seconds = Math.max(1, Math.ceil(refusal.msBeforeNext / 1000))
      throw new Problem(
        'too_many_requests',
        `Too many requests; try again in ${seconds} seconds.`,
        { retryAfter: seconds },
      )
    }
  }
}

/** One household has one IPv4 address but 2^64 IPv6 addresses: those count as one. */
export function network(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped) return mapped
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('::') as [string, string | undefined]
  const left = head === '' ? [] : head.split(':')
  const right = tail ? tail.split(':') : []
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...Array<string>(Math.max(0, zeros)).fill('0'), ...right]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group || '0', 16).toString(16))
    .join(':')}::/64`
}
