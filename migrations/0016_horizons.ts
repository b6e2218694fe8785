import type { Knex } from 'knex'

const TABLES = ['profiles', 'categories', 'tasks', 'conflicts']

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- By table: up to this number (seq), tombstones may be gone. A cursor before it may have missed a
    -- deletion. And the latest updated_at among them, in milliseconds (at): devices may still have them.
    alter table feeds add column horizons jsonb not null default '{}';

    -- What a table of documents needs so that its tombstones can be purged, for migrations to call. In
    -- a live document, deleted_at means nothing: so this can add it to a large table in no time.
    create function add_horizon(documents text) returns void language plpgsql as $$
    begin
      execute format('alter table %I add column deleted_at timestamptz(3) default %L', documents, now());
      execute format('alter table %I alter column deleted_at drop default', documents);
      execute format(
        'create index %I on %I (deleted_at) where deleted', documents || '_tombstones', documents);
      execute format(
        'create trigger %I before insert or update on %I for each row when (new.deleted)
         execute function date_tombstone()',
        documents || '_tombstone', documents);
      execute format(
        'create trigger %I after delete on %I referencing old table as removed for each statement
         execute function move_horizon()',
        documents || '_horizon', documents);
    end $$;

    -- A change of a tombstone is news for devices too, so its time starts anew.
    create function date_tombstone() returns trigger language plpgsql as $$
    begin
      new.deleted_at := now();
      return new;
    end $$;

    -- Wherever a row is removed, a cursor before its number may have missed what became of it. A document
    -- that is removed without a tombstone is news for all devices: the horizon is the next number.
    create function move_horizon() returns trigger language plpgsql as $$
    begin
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
      return null;
    end $$;

    ${TABLES.map((table) => `select add_horizon('${table}');`).join('\n')}
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    ${TABLES.map(
      (table) => `
        drop trigger ${table}_tombstone on ${table};
        drop trigger ${table}_horizon on ${table};
        alter table ${table} drop column deleted_at;`,
    ).join('\n')}
    drop function add_horizon, date_tombstone, move_horizon;
    alter table feeds drop column horizons;
  `)
}
