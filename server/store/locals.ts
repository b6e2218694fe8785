import { type Database, run, runOn, runTogether, type Statement } from '../database/connect.ts'
import type { RevisionStore } from '../sync/revisions.ts'
import { named } from './statements.ts'

/** So many checkpoints of replicas are kept for each person: two for each database of a device. */
const LOCALS = 1_000

/** `$1` user, `$2` database, `$3` id. */
const findLocalSql = named(
  'select revision, body from couch_locals where user_id = $1 and database = $2 and id = $3',
)

/** `$4` body. */
const insertLocalSql = named(`
  insert into couch_locals (user_id, database, id, revision, body)
  select user_id, $2, $3, 1, $4 from feeds where user_id = $1
  on conflict (user_id, database, id) do nothing returning 1`)

/** Whoever has more loses those that were used longest ago. `$1` user. */
const forgetLocalsSql = named(`
  delete from couch_locals where user_id = $1 and (database, id) in (
    select database, id from couch_locals where user_id = $1
    order by changed_at desc, database, id offset ${LOCALS}
  )`)

/** `$4` body, `$5` revision. */
const updateLocalSql = named(`
  update couch_locals set revision = revision + 1, body = $4, changed_at = now()
  where user_id = $1 and database = $2 and id = $3 and revision = $5 returning 1`)

/** `$4` revision. */
const deleteLocalSql = named(`
  delete from couch_locals where user_id = $1 and database = $2 and id = $3 and revision = $4
  returning 1`)

/** Checkpoints of replicas that speak CouchDB's protocol, in Postgres. */
export function localsOf(db: Database): Pick<RevisionStore, 'findLocal' | 'putLocal'> {
  return {
    async findLocal(user, database, id) {
      const [row] = await run<[number, string]>(db, findLocalSql, [user, database, id])
      return row && { revision: row[0], body: row[1] }
    },

    async putLocal(user, database, id, ifRevision, body) {
      const key = [user, database, id]
      const rows =
        body === undefined
          ? await runUnsynced(db, deleteLocalSql, [...key, ifRevision])
          : ifRevision === 0
            ? await insertLocal(user, [...key, body])
            : await runUnsynced(db, updateLocalSql, [...key, body, ifRevision])
      return rows.length > 0
    },
  }

  async function insertLocal(user: string, values: readonly unknown[]) {
    const rows = await runUnsynced(db, insertLocalSql, values)
    if (rows.length > 0) await run(db, forgetLocalsSql, [user])
    return rows
  }
}

/** Does not wait for the disk: a replica whose checkpoint is lost compares revisions from the one before. */
const runUnsynced = (db: Database, statement: Statement, values: readonly unknown[]) =>
  runTogether(db, async (connection) => {
    const [, rows] = await Promise.all([
      connection.query('set local synchronous_commit = off'),
      runOn(connection, statement, values),
    ])
    return rows
  })
