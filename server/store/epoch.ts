import { randomUUID } from 'node:crypto'
import type { Database } from '../database/connect.ts'

/** More changes than one user makes between a backup and its restore. */
const SKIPPED = 1_000_000

/**
 * Begins another epoch of every feed, so that cursors of lost changes are refused (server/sync/cursors.ts).
 * Skips the numbers of those changes, because an ETag consists of the number only. After a promotion or a
 * recovery to a point in time, the database does both by itself (migrations/0015_timelines.ts).
 *
 * @returns the number of feeds
 */
export function beginEpoch(db: Database): Promise<number> {
  // Must not look like a document's id, which cursors of the first release have instead of an epoch.
  const epoch = randomUUID().slice(-12)
  return db('feeds').update({
    epoch,
    seq: db.raw('seq + ?', [SKIPPED]),
    // As text: jsonb_build_object is not immutable (docs/decisions/0029-keys-by-user.md).
    branches: db.raw(`branches || ('{"' || epoch || '":' || seq::text || '}')::jsonb`),
  })
}
