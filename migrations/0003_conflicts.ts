import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create type conflicts_cause as enum ('edit', 'deletion');
    create table conflicts (
      user_id     uuid            not null references feeds (user_id) on delete cascade,
      id          uuid            not null,
      resource    text            not null,
      document_id uuid            not null,
      cause       conflicts_cause not null,
      lost        jsonb           not null,
      kept        jsonb           not null,
      lost_at     timestamptz(3)  not null,
      session_id  uuid,
      restored_at timestamptz(3),
      created_at  timestamptz(3)  not null,
      updated_at  timestamptz(3)  not null,
      deleted     boolean         not null default false,
      seq         bigint          not null,
      primary key (user_id, id)
    );
    create unique index conflicts_feed on conflicts (user_id, seq);
    create index conflicts_newest on conflicts (user_id, created_at desc, id) where not deleted;
    create trigger conflicts_insert_stamp before insert on conflicts
      for each row when (new.seq is null) execute function stamp_change();
    create trigger conflicts_update_stamp before update on conflicts
      for each row when (new.seq = old.seq) execute function stamp_change();
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table conflicts; drop type conflicts_cause')
}
