import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Registered by itself, where mail is sent: limited until its address is confirmed, and deleted if it
    -- never is (server/accounts/unconfirmed.ts). No account that exists already has to.
    alter table users add column must_confirm boolean not null default false;
    create index users_unconfirmed on users (created_at, id)
      where must_confirm and email_verified_at is null and email is not null and is_active;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('alter table users drop column must_confirm')
}
