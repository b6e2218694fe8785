import { createMinuteCounts } from './minute-counts.ts'
import { type Policy, type Room, tooMany } from './rate-limit-fields.ts'

/**
 * Counts what a person writes.
 *
 * @param documents 0 asks only whether they may write at all
 * @returns what is left; undefined without a limit
 * @throws Problem `too_many_requests`
 */
export type WriteLimit = (user: string, documents: number, bytes: number) => Room | undefined

/** A larger document counts as several. */
const BYTES_PER_WRITE = 2_048

/**
 * So many documents a minute for each person, on this node; 0 is no limit. A request is refused once the limit
 * is reached, so a large one may exceed it.
 */
export function createWriteLimit(perMinute: number): WriteLimit {
  if (perMinute === 0) return () => undefined
  const policy: Policy = { name: 'writes', perMinute, setting: 'WRITES_PER_MINUTE' }
  const count = createMinuteCounts()
  return (user, documents, bytes) => {
    const more = Math.max(documents, Math.ceil(bytes / BYTES_PER_WRITE))
    const { count: written, left_ms } = count(user, more)
    if (written - more >= perMinute) throw tooMany(policy, left_ms)
    return { policy, remaining: Math.max(0, perMinute - written), left_ms }
  }
}
