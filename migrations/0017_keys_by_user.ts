import type { Knex } from 'knex'

/**
 * Parts of functions, and what they become. A distributed database refuses expressions in an update that
 * are not immutable and depend on columns: arithmetic with timestamptz, jsonb_build_object.
 */
const CHANGED: Readonly<Record<string, readonly (readonly [from: string, to: string])[]>> = {
  release_references: [
    [`      change    text;\n`, `      change    text;\n      stamps    text;\n`],
    [
      `change := format('%I = null, changed = t.changed || jsonb_build_object(%L, now.ms)', field, field);`,
      `change := format('%I = null', field);\n        stamps := format('{"%s":#}', field);`,
    ],
    [
      `change := format(
          'deleted = true, changed = t.changed || jsonb_build_object(''_deleted'', now.ms, %L, now.ms)',
          '_deleted.' || field);`,
      `change := 'deleted = true';\n        stamps := format('{"_deleted":#,"_deleted.%s":#}', field);`,
    ],
    [
      `change := 'deleted = false, changed = t.changed || jsonb_build_object(''_deleted'', now.ms)';`,
      `change := 'deleted = false';\n        stamps := '{"_deleted":#}';`,
    ],
    [
      `set %s, updated_at = now.at, seq`,
      `set %s, changed = t.changed || replace($5, ''#'', now.ms)::jsonb, updated_at = now.at, seq`,
    ],
    [
      `(extract(epoch from now.at) * 1000)::bigint as ms`,
      `((extract(epoch from now.at at time zone ''UTC'') * 1000)::bigint)::text as ms`,
    ],
    [
      `select greatest(was.updated_at + interval ''1 millisecond'', $4) as at`,
      `select greatest((was.updated_at at time zone ''UTC'' + interval ''1 millisecond'') at time zone ''UTC'', $4) as at`,
    ],
    [`affected, first, target.updated_at;`, `affected, first, target.updated_at, stamps;`],
    [
      `updated_at = t.updated_at + interval ''1 millisecond'',
               changed = t.changed || jsonb_build_object(''_deleted'', ms, %2$L, ms)
             from (
               select was.id,
                 (extract(epoch from was.updated_at + interval ''1 millisecond'') * 1000)::bigint as ms
               from`,
      `updated_at = now.at at time zone ''UTC'',
               changed = t.changed || replace(%2$L, ''#'', ((extract(epoch from now.at) * 1000)::bigint)::text)::jsonb
             from (
               select was.id, was.updated_at at time zone ''UTC'' + interval ''1 millisecond'' as at
               from`,
    ],
    [
      `referring, '_deleted.' || other[1], other[2], other[1])`,
      `referring, format('{"_deleted":#,"_deleted.%s":#}', other[1]), other[2], other[1])`,
    ],
    // The table of a shard has the number of the shard in its name.
    [`referring = tg_table_name`, `referring = regexp_replace(tg_table_name, '_\\d{6,}$', '')`],
  ],
  check_reference: [
    [`tg_table_name`, `own`],
    [
      `      is_wrong  boolean;\n`,
      `      own       constant text := regexp_replace(tg_table_name, '_\\d{6,}$', '');\n      is_wrong  boolean;\n`,
    ],
  ],
  // A query on the removed rows must be one of its own, and a change of a feed that of one user.
  move_horizon: [
    [
      `    begin
      update feeds f
        set seq = f.seq + was.is_live::int,
            horizons = f.horizons || jsonb_build_object(tg_table_name, jsonb_build_object(
              'seq', greatest((f.horizons #>> array[tg_table_name, 'seq'])::bigint, was.last,
                case when was.is_live then f.seq + 1 end),
              'at', greatest((f.horizons #>> array[tg_table_name, 'at'])::bigint, was.at)))
        from (
          select user_id, max(seq) as last, bool_or(not deleted) as is_live,
            (extract(epoch from max(updated_at)) * 1000)::bigint as at
          from removed where seq > 0 group by user_id
        ) was
        where f.user_id = was.user_id;
`,
      `    declare
      documents constant text := regexp_replace(tg_table_name, '_\\d{6,}$', '');
      horizon   constant text := format('{"%s":{"seq":#seq,"at":#at}}', documents);
      was       record;
    begin
      for was in
        select user_id, max(seq) as last, bool_or(not deleted) as is_live,
          (extract(epoch from max(updated_at)) * 1000)::bigint as at
        from removed where seq > 0 group by user_id order by user_id
      loop
        update feeds f
          set seq = f.seq + was.is_live::int,
              horizons = f.horizons || replace(
                replace(horizon, '#seq', greatest((f.horizons #>> array[documents, 'seq'])::bigint, was.last,
                  case when was.is_live then f.seq + 1 end)::text),
                '#at', greatest((f.horizons #>> array[documents, 'at'])::bigint, was.at)::text)::jsonb
          where f.user_id = was.user_id;
      end loop;
`,
    ],
  ],
  // As immutable as `at time zone`, which Postgres itself calls so.
  known_timezone: [[`\n STABLE`, `\n IMMUTABLE`]],
  next_at: [[`\n STABLE`, `\n IMMUTABLE`]],
}

export async function up(knex: Knex): Promise<void> {
  for (const [name, parts] of Object.entries(CHANGED)) await rewrite(knex, name, parts)
  await knex.raw(`
    -- What is unique among all users: usernames and addresses in lower case, and hashes of the tokens
    -- of links. Every other key begins with its user, so that tables can be distributed by user.
    create type names_kind as enum ('username', 'email', 'link');
    create table names (
      kind    names_kind not null,
      name    text       not null,
      user_id uuid       not null
    );

    -- For SQL, and for nodes of the release before, which do not know the table.
    create function name_user() returns trigger language plpgsql as $$
    begin
      if tg_op = 'DELETE' then
        delete from names where user_id = old.id;
        return null;
      end if;
      insert into names
        select own.kind, own.name, new.id
        from (values ('username'::names_kind, lower(new.username)), ('email', lower(new.email))) own (kind, name)
        where not exists (
          select from names n where n.kind = own.kind and n.name = own.name and n.user_id = new.id);
      delete from names where user_id = new.id and (
        kind = 'username' and name <> lower(new.username) or kind = 'email' and name <> lower(new.email));
      return null;
    end $$;
    create trigger users_named after insert or delete or update of username, email on users
      for each row execute function name_user();

    create function name_link() returns trigger language plpgsql as $$
    begin
      if tg_op = 'DELETE' then
        delete from names where kind = 'link' and name = encode(old.token_hash, 'hex');
      else
        insert into names values ('link', encode(new.token_hash, 'hex'), new.user_id)
          on conflict (kind, name) do nothing;
      end if;
      return null;
    end $$;
    create trigger account_links_named after insert or delete on account_links
      for each row execute function name_link();

    insert into names
      select 'username'::names_kind, lower(username), id from users
      union all select 'email'::names_kind, lower(email), id from users
      union all select 'link'::names_kind, encode(token_hash, 'hex'), user_id from account_links;

    alter table names add primary key (kind, name);
    create index names_user on names (user_id);

    -- Rows can be read while their new keys are built. Nodes of the release before look for ids alone.
    create unique index account_links_key on account_links (user_id, id);
    create unique index mails_key on mails (user_id, id);
    create unique index mails_user_id_cause_key on mails (user_id, cause);
    create index mails_id on mails (id);
    create unique index sessions_key on sessions (user_id, id);
    create index sessions_id on sessions (id);
    alter table account_links drop constraint account_links_pkey,
      add constraint account_links_pkey primary key using index account_links_key;
    alter table mails drop constraint mails_pkey,
      add constraint mails_pkey primary key using index mails_key,
      add constraint mails_user_id_cause_key unique using index mails_user_id_cause_key;
    alter table sessions drop constraint sessions_pkey,
      add constraint sessions_pkey primary key using index sessions_key;
    drop index account_links_user, sessions_user;
  `)
}

export async function down(knex: Knex): Promise<void> {
  for (const [name, parts] of Object.entries(CHANGED))
    await rewrite(knex, name, parts.map(([from, to]) => [to, from] as const).reverse())
  await knex.raw(`
    create index sessions_user on sessions (user_id);
    drop index sessions_id;
    alter table sessions drop constraint sessions_pkey, add primary key (id);

    drop index mails_id;
    alter table mails drop constraint mails_user_id_cause_key, drop constraint mails_pkey, add primary key (id);

    create index account_links_user on account_links (user_id);
    alter table account_links drop constraint account_links_pkey, add primary key (id);

    drop trigger account_links_named on account_links;
    drop trigger users_named on users;
    drop function name_link, name_user;
    drop table names;
    drop type names_kind;
  `)
}

async function rewrite(
  knex: Knex,
  name: string,
  parts: readonly (readonly [from: string, to: string])[],
): Promise<void> {
  const { rows } = await knex.raw('select pg_get_functiondef(?::regproc) as text', [name])
  let text: string = rows[0].text
  for (const [from, to] of parts) {
    if (!text.includes(from)) throw new Error(`${name} does not have: ${from}`)
    text = text.replaceAll(from, () => to)
  }
  await knex.raw(text)
}
