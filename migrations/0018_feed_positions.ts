import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Where the device is in the feed, as far as the server knows: server/sync/positions.ts.
    alter table sessions add column feed_positions jsonb not null default '{}';
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('alter table sessions drop column feed_positions')
}
