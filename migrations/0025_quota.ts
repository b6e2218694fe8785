import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- What is stored for the person, by the last count: server/store/usage.ts. Without one, counted_seq is 0.
    alter table feeds
      add column counted_seq bigint not null default 0,
      add column counted_at timestamptz(3),
      add column stored_documents bigint not null default 0,
      add column stored_bytes bigint not null default 0;
    -- A new person has a profile, which is the first in the feed.
    alter table feeds alter column counted_seq set default 1;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table feeds
      drop column counted_seq, drop column counted_at,
      drop column stored_documents, drop column stored_bytes`)
}
