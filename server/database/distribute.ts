import type { Database } from './connect.ts'
import { lowerWall } from './wall.ts'

/**
 * Distributes the tables of all users over the nodes of a Citus cluster: every table with a `user_id`, by
 * that, so that all rows of a user are on one node; `users` by its id; `names`, which has no other key, by
 * the name. All others stay on the coordinator. Idempotent, and all in one transaction.
 *
 * @returns the tables that it distributed
 * @throws with instructions if Citus is missing or not configured
 */
export async function distribute(db: Database): Promise<string[]> {
  await requireCitus(db)
  return db.transaction(async (trx) => {
    // Foreign keys between tables that are distributed in one transaction need it.
    await trx.raw('set local citus.multi_shard_modify_mode to sequential')
    await dropForFormerNodes(trx)
    await lowerWall(trx)
    const tables = await undistributed(trx)
    for (const { name, column } of tables)
      await trx.raw('select create_distributed_table(?, ?, colocate_with => ?)', [
        name,
        column,
        name === 'users' || name === 'names' ? 'none' : 'users',
      ])
    if (tables.length > 0) await distributeFunctions(trx)
    return tables.map(({ name }) => name)
  })
}

async function requireCitus(db: Database): Promise<void> {
  const { rows } = await db.raw(
    `select (select count(*) from pg_extension where extname = 'citus')::int as extensions,
       current_setting('citus.enable_unsafe_triggers', true) as triggers`,
  )
  if (rows[0].extensions === 0)
    throw new Error(
      'This database has no Citus: `create extension citus` in it on every node, and add the workers.',
    )
  if (rows[0].triggers !== 'on')
    throw new Error(
      'Set citus.enable_unsafe_triggers to on, on every node (alter system, then reload): triggers write the rows of the same user in other tables.',
    )
}

/**
 * What only nodes of the release before use, and what a distributed table cannot have: unique indexes
 * without the user, and triggers that write rows of other nodes.
 */
export const FOR_FORMER_NODES = [
  'drop trigger if exists users_named on users',
  'drop trigger if exists account_links_named on account_links',
  'drop index if exists users_username',
  'drop index if exists users_email',
  'alter table account_links drop constraint if exists account_links_token_hash_key',
  'alter table mails drop constraint if exists mails_cause_key',
] as const

async function dropForFormerNodes(trx: Database): Promise<void> {
  for (const statement of FOR_FORMER_NODES) await trx.raw(statement)
}

/** Tables to distribute, those that others refer to first. */
async function undistributed(trx: Database): Promise<{ name: string; column: string }[]> {
  const { rows } = await trx.raw(
    `with recursive own as (
       select c.oid, c.relname::text as name, case c.relname when 'names' then 'name' when 'users' then 'id' else 'user_id' end as column
       from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and (
         c.relname = 'users' or exists (
           select from pg_attribute where attrelid = c.oid and attname = 'user_id' and not attisdropped))
     ), depths (oid, depth) as (
       select oid, 0 from own
       union
       select k.conrelid, depth + 1 from depths join pg_constraint k on k.confrelid = depths.oid
       where k.contype = 'f' and k.conrelid <> k.confrelid
     )
     select own.name, own.column from own join depths using (oid)
     where not exists (select from pg_dist_partition where logicalrelid = own.oid)
     group by own.name, own.column order by own.name <> 'users', max(depth), name`,
  )
  return rows
}

/** Statements and triggers on the workers call them, and a view that is replaced is created there. */
async function distributeFunctions(trx: Database): Promise<void> {
  const { rows: functions } = await trx.raw(
    `select oid::regprocedure::text as name from pg_proc where pronamespace = 'public'::regnamespace
       and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')`,
  )
  for (const { name } of functions) await trx.raw('select create_distributed_function(?)', [name])
  const { rows: views } = await trx.raw(
    `select oid::regclass::text as name, pg_get_viewdef(oid) as query from pg_class
     where relnamespace = 'public'::regnamespace and relkind = 'v'
       and not exists (select from pg_depend where objid = pg_class.oid and deptype = 'e')`,
  )
  for (const { name, query } of views)
    await trx.raw(`create or replace view ${name} as ${query.replaceAll('?', '\\?')}`)
}
