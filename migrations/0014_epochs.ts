import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Which run of numbers the feed is in: another one after its database was restored to an older point,
    -- because numbers that devices have seen are given again then. Cursors tell it (server/sync/cursors.ts).
    alter table feeds add column epoch text not null default '1';
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('alter table feeds drop column epoch')
}
