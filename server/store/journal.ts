import { resources } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { dropEntries } from '../sync/journal.ts'
import { type Store, type Stored, type Transaction, UnknownUser } from '../sync/store.ts'
import { named } from './statements.ts'

const { conflicts } = resources

const BATCH = 1_000
/** So many documents at once: each may have thousands of entries, from before there was a limit. */
const DOCUMENTS = 10

interface Kept {
  days: number
  /** Entries of one document. */
  entries: number
}

/**
 * Deletes the entries of the conflict journal that are older than some days, and the oldest of documents with too
 * many. They become tombstones without values, which devices receive like every other change.
 *
 * @returns how many
 */
export async function pruneJournal(
  db: Database,
  store: Store,
  { days, entries }: Kept,
  now: () => Date,
): Promise<number> {
  const old = `
    select user_id, array_agg(id) from (
      select user_id, id from conflicts
      where not deleted and created_at < now() - make_interval(days => ${days}) limit ${BATCH}
    ) due group by user_id`
  const tooMany = `
    select user_id, array_agg(document_id) from (
      select user_id, document_id from conflicts
      where not deleted group by user_id, document_id having count(*) > ${entries} limit ${DOCUMENTS}
    ) due group by user_id`
  return (
    (await dropAll(old, async (transaction, ids) => [
      ...(await transaction.read(conflicts, ids)).values(),
    ])) +
    (await dropAll(tooMany, (transaction, ids) =>
      transaction.olderThanNewest(conflicts, 'document_id', ids, entries),
    ))
  )

  async function dropAll(
    due: string,
    read: (transaction: Transaction, ids: readonly string[]) => Promise<Stored[]>,
  ): Promise<number> {
    let count = 0
    for (;;) {
      const owners = await run<[user: string, ids: string[]]>(
        db,
        { ...named(due), isSlow: true, isForEveryone: true },
        [],
      )
      if (owners.length === 0) return count
      for (const [user, ids] of owners)
        count += await store
          .transaction(user, async (transaction) => {
            const live = (await read(transaction, ids)).filter(({ deleted }) => !deleted)
            await dropEntries(transaction, live, now().toISOString())
            return live.length
          })
          .catch(noneOfDeletedUser)
    }
  }
}

/** An account that is deleted meanwhile takes its journal with it. */
function noneOfDeletedUser(error: unknown): number {
  if (error instanceof UnknownUser) return 0
  throw error
}
