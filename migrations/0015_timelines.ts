import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- The timeline of the write-ahead log. Each promotion of a standby, and each recovery to a point in
    -- time, begins another one, which may lack the last commits of the one before. 0 where Postgres
    -- cannot tell.
    create function wal_timeline() returns integer language sql volatile as $$
      select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
    $$;
    do $$ begin
      perform wal_timeline();
    exception when others then
      create or replace function wal_timeline() returns integer language sql immutable as 'select 0';
    end $$;

    -- The timeline of the last change of a feed, and where its former epochs end: what comes after that
    -- in a former epoch has been lost.
    do $$ begin
      execute format(
        'alter table feeds add column timeline integer not null default %s,
           add column branches jsonb not null default ''{}''', wal_timeline());
    end $$;
    alter table feeds alter column timeline set default wal_timeline();

    -- The first change on another timeline begins another epoch. Its numbers come after all that were
    -- given on timelines in between, whatever became of those: they are never given twice.
    create function branch_feed() returns trigger language plpgsql as $$
    declare
      steps constant bigint := greatest(wal_timeline() - old.timeline, 1);
    begin
      new.timeline := wal_timeline();
      new.branches := old.branches || jsonb_build_object(old.epoch, old.seq);
      new.epoch := right(gen_random_uuid()::text, 12);
      new.seq := (((old.seq >> 32) + steps) << 32) + new.seq - old.seq;
      return new;
    end $$;
    create trigger feeds_branch before update on feeds
      for each row when (old.timeline <> wal_timeline()) execute function branch_feed();
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop trigger feeds_branch on feeds;
    drop function branch_feed;
    alter table feeds drop column timeline, drop column branches;
    drop function wal_timeline;
  `)
}
