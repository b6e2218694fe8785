import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../../server/database/connect.ts'
import { distribute, FOR_FORMER_NODES } from '../../../server/database/distribute.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'

/** Tables whose rows belong to no user: they stay on the coordinator of a distributed database. */
const LOCAL = [
  'audit_log',
  'knex_migrations',
  'knex_migrations_lock',
  'mail_allowances',
  'rate_limits',
]

let database: TestDatabase
let db: Database
beforeAll(async () => {
  database = await createDatabase()
  db = database.db
})
afterAll(() => database.drop())

describe('every key', () => {
  test('begins with its user, except for those that only nodes of the release before use', async () => {
    const trx = await db.transaction()
    try {
      expect(await faults(trx)).toEqual(
        [
          'account_links: UNIQUE (token_hash): without user_id',
          'mails: UNIQUE (cause): without user_id',
          'users: CREATE UNIQUE INDEX users_email ON public.users USING btree (lower(email)): without id',
          'users: CREATE UNIQUE INDEX users_username ON public.users USING btree (lower(username)): without id',
          'users: trigger users_named writes rows of others',
          'account_links: trigger account_links_named writes rows of others',
        ].sort(),
      )
      for (const statement of FOR_FORMER_NODES) await trx.raw(statement)
      expect(await faults(trx)).toEqual([])
    } finally {
      await trx.rollback()
    }
  })

  test.each<[string, string, string[]]>([
    [
      'a table of no user',
      'create table moods (id uuid primary key)',
      ['moods: neither user_id nor among those that stay local'],
    ],
    [
      'a primary key without the user',
      'create table moods (user_id uuid not null, id uuid primary key)',
      ['moods: PRIMARY KEY (id): without user_id'],
    ],
    [
      'a unique index without the user',
      'create unique index tasks_title on tasks (title)',
      [
        'tasks: CREATE UNIQUE INDEX tasks_title ON public.tasks USING btree (title): without user_id',
      ],
    ],
    [
      'an exclusion constraint without the user',
      'alter table feeds add constraint feeds_epochs exclude (epoch with =)',
      ['feeds: EXCLUDE USING btree (epoch WITH =): without user_id'],
    ],
    [
      'a foreign key without the user',
      `create unique index on sessions (id);
       alter table conflicts add constraint by_session foreign key (session_id) references sessions (id)`,
      [
        'conflicts: FOREIGN KEY (session_id) REFERENCES sessions(id): without user_id',
        'sessions: CREATE UNIQUE INDEX sessions_id_idx ON public.sessions USING btree (id): without user_id',
      ],
    ],
    [
      'a foreign key to another column than the user',
      'alter table names add unique (user_id); alter table sessions add foreign key (user_id) references names (user_id)',
      [
        'names: UNIQUE (user_id): without name',
        'sessions: FOREIGN KEY (user_id) REFERENCES names(user_id): without user_id',
      ],
    ],
    [
      'a foreign key from a local table',
      'alter table audit_log add foreign key (actor_id) references users (id)',
      [
        'audit_log: FOREIGN KEY (actor_id) REFERENCES users(id): between a local and a distributed table',
      ],
    ],
    [
      'on delete set null',
      `alter table tasks drop constraint tasks_category_id,
       add foreign key (user_id, category_id) references categories (user_id, id) on delete set null (category_id)`,
      [
        'tasks: FOREIGN KEY (user_id, category_id) REFERENCES categories(user_id, id) ON DELETE SET NULL (category_id): changes the key',
      ],
    ],
    [
      'a trigger that writes a name',
      `create trigger links_named after update on sessions for each row execute function name_user()`,
      ['sessions: trigger links_named writes rows of others'],
    ],
  ])('is checked: %s', async (_what, sql, expected) => {
    const trx = await db.transaction()
    try {
      for (const statement of FOR_FORMER_NODES) await trx.raw(statement)
      await trx.raw(sql)
      expect(await faults(trx)).toEqual(expected)
    } finally {
      await trx.rollback()
    }
  })
})

test('a database without Citus is not distributed, and keeps what it has', async () => {
  await expect(distribute(db)).rejects.toThrow(/This database has no Citus/)
  const { rows } = await db.raw(`select to_regclass('users_email') is not null as kept`)
  expect(rows).toEqual([{ kept: true }])
})

/** Where a key would keep tables from being distributed by user. */
async function faults(sql: Pick<Database, 'raw'>): Promise<string[]> {
  const { rows } = await sql.raw(FAULTS, { local: LOCAL })
  return rows.map(({ fault }: { fault: string }) => fault).sort()
}

/** `owner` is the column by which a table is distributed. */
const FAULTS = `
  with tables as (
    select oid, relname::text as name, case
      when relname = 'users' then 'id' when relname = 'names' then 'name' when relname = any (:local) then null
      else 'user_id' end as owner
    from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
  ), owned as (
    select tables.*, attnum from tables left join pg_attribute a on attrelid = tables.oid and attname = owner
  )
  select name || ': neither user_id nor among those that stay local' as fault from owned
  where owner is not null and attnum is null
  union all
  select name || ': ' || coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(indexrelid)) || ': without ' || owner
  from pg_index join owned on owned.oid = indrelid
    left join pg_constraint k on conindid = indexrelid and contype in ('p', 'u', 'x')
  where (indisunique or indisexclusion) and attnum is not null and not attnum = any (indkey)
  union all
  select one.name || ': ' || pg_get_constraintdef(k.oid) || case
    when (one.owner is null) <> (other.owner is null) then ': between a local and a distributed table'
    when confdeltype in ('n', 'd') or confupdtype in ('n', 'd') then ': changes the key'
    else ': without ' || one.owner end
  from pg_constraint k join owned one on one.oid = conrelid join owned other on other.oid = confrelid
  where contype = 'f' and (
    (one.owner is null) <> (other.owner is null) or confdeltype in ('n', 'd') or confupdtype in ('n', 'd')
    or one.owner is not null and array_position(conkey, one.attnum)
      is distinct from array_position(confkey, other.attnum)
    or one.owner is not null and not one.attnum = any (conkey)
    or one.name = 'names' or other.name = 'names')
  union all
  select name || ': trigger ' || tgname || ' writes rows of others'
  from pg_trigger join owned on owned.oid = tgrelid join pg_proc on pg_proc.oid = tgfoid
  where not tgisinternal and prosrc ~ '\\m(from|into|update) names\\M'`
