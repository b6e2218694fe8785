import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- The last renewal of the refresh token: server/accounts/renewals.ts. Nodes of the release before
    -- change the generation alone, so these are of the last renewal only where renewed_to is the generation.
    alter table sessions
      add column renewed_from    int,
      add column renewed_to      int,
      add column renewed_at      timestamptz(3),
      -- The newest generation of which an access token was used.
      add column seen_generation int not null default 0,
      -- The device has to delete its data. Such a session is kept, because the device may be offline.
      add column erased_at       timestamptz(3);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table sessions
      drop column renewed_from, drop column renewed_to, drop column renewed_at,
      drop column seen_generation, drop column erased_at;
  `)
}
