import type { Log } from '../runtime/log.ts'
import type { Database } from './connect.ts'

/**
 * The second wall (docs/decisions/0043-a-second-wall.md): statements run in the role `tasktide_app`, which
 * sees the documents of the person that the transaction names, and of nobody if it names none.
 */

/** May read and write, but not change the schema or the audit log's entries. */
export const APP = 'tasktide_app'
/** The same for the documents of all people: for sweeps, which say so. */
export const EVERYONES = 'tasktide_everyone'

/** Since Postgres 16 a membership may be one that only lets others in. Also asked from behind the wall. */
const MAY_TAKE = `pg_has_role(session_user, '${EVERYONES}',
  case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end)`

/** Whether the wall stands in this database, for the one who asks: `stands`. */
export const WALL_STANDS = `
  select case
    when to_regrole('${EVERYONES}') is null then false
    else ${MAY_TAKE} and exists (
      select from pg_policy where to_regrole('${EVERYONES}') = any (polroles))
  end as stands`

/**
 * Builds what is missing of the wall: the roles, what they may do, and a policy for each table of documents. For
 * the owner of the tables nothing changes: nodes of the release before serve on.
 *
 * @param db a transaction of the owner
 * @returns whether it stands: not where the owner may create no roles, nor on Citus
 */
export async function raiseWall(db: Database): Promise<boolean> {
  const { rows } = await db.raw(`select ${MISSING} as missing`)
  if (rows[0].missing) await db.raw(RAISE)
  const { rows: after } = await db.raw(WALL_STANDS)
  return after[0].stands
}

/** Says so if the wall does not stand. */
export async function warnWithoutWall(db: Database, log: Pick<Log, 'warn'>): Promise<void> {
  const { rows } = await db.raw(
    `${WALL_STANDS}, exists (select from pg_extension where extname = 'citus') as is_distributed`,
  )
  const { stands, is_distributed } = rows[0]
  if (stands) return
  log.warn(
    is_distributed
      ? 'row-level security is off, because this database has Citus'
      : `row-level security is off: run \`create role ${APP}; create role ${EVERYONES} in role ${APP}; grant ${EVERYONES} to …\` (the role of DATABASE_URL) as an administrator of the database, and then \`npm run migrate\``,
  )
}

/** Citus runs statements on other nodes, where the transaction has not named its person. */
export async function lowerWall(db: Database): Promise<void> {
  await db.raw(LOWER)
}

/** A table of documents has these columns. Kept answers contain documents. */
const DOCUMENTS = `
  select c.oid, c.relname from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and (
    c.relname = 'idempotency_keys' or (
      select count(*) from pg_attribute a
      where a.attrelid = c.oid and a.attname in ('user_id', 'deleted', 'seq') and not a.attisdropped) = 3)`

/** Each part is asked only if the roles exist. */
const MISSING = `
  case
    when exists (select from pg_extension where extname = 'citus') then false
    when to_regrole('${APP}') is null or to_regrole('${EVERYONES}') is null then true
    else not ${MAY_TAKE}
      or exists (
        select from (${DOCUMENTS}) d
        where (select count(*) from pg_policy where polrelid = d.oid) < 2)
      or exists (
        select from pg_class
        where relname = 'reminder_moments' and not coalesce('security_invoker=true' = any (reloptions), false))
      or exists (
        select from pg_class
        where relnamespace = any (array['public', 'graphile_worker']::regnamespace[]) and relkind in ('r', 'v')
          and not has_table_privilege('${APP}', oid, 'select'))
  end`

const RAISE = `
  do $wall$
  declare
    documents record;
    job_table record;
  begin
    begin
      if to_regrole('${APP}') is null then
        create role ${APP} nologin;
      end if;
      if to_regrole('${EVERYONES}') is null then
        create role ${EVERYONES} nologin in role ${APP};
      end if;
      if not ${MAY_TAKE} then
        execute format('grant ${EVERYONES} to %I', current_user);
      end if;
    exception
      -- Another database of this server may have them, and this one be allowed to use them.
      when insufficient_privilege or duplicate_object or unique_violation then null;
    end;
    if to_regrole('${EVERYONES}') is null then return; end if;
    if not ${MAY_TAKE} then return; end if;

    grant usage on schema public, graphile_worker to ${APP};
    grant select, insert, update, delete on all tables in schema public, graphile_worker to ${APP};
    grant usage, select on all sequences in schema graphile_worker to ${APP};
    grant execute on all functions in schema graphile_worker to ${APP};
    revoke update, delete on audit_log from ${APP};
    revoke insert, update, delete on knex_migrations, knex_migrations_lock from ${APP};
    -- As its owner, it would see the rows of everybody.
    alter view reminder_moments set (security_invoker = true);

    for documents in ${DOCUMENTS} loop
      execute format('drop policy if exists ${APP} on %I', documents.relname);
      execute format('drop policy if exists ${EVERYONES} on %I', documents.relname);
      -- In a query of its own, which runs once and not for each row.
      execute format(
        'create policy ${APP} on %I to ${APP}
         using (user_id = (select nullif(current_setting(''tasktide.person'', true), '''')::uuid))',
        documents.relname);
      execute format('create policy ${EVERYONES} on %I to ${EVERYONES} using (true)', documents.relname);
      execute format('alter table %I enable row level security', documents.relname);
    end loop;
    -- graphile-worker keeps its tables from everybody but their owner. Jobs belong to no person.
    for job_table in
      select relname from pg_class where relnamespace = 'graphile_worker'::regnamespace and relrowsecurity
    loop
      execute format('drop policy if exists ${APP} on graphile_worker.%I', job_table.relname);
      execute format('create policy ${APP} on graphile_worker.%I to ${APP} using (true)', job_table.relname);
    end loop;
  end $wall$`

const LOWER = `
  do $wall$
  declare
    documents record;
  begin
    for documents in ${DOCUMENTS} loop
      execute format('drop policy if exists ${APP} on %I', documents.relname);
      execute format('drop policy if exists ${EVERYONES} on %I', documents.relname);
      execute format('alter table %I disable row level security', documents.relname);
    end loop;
  end $wall$`
