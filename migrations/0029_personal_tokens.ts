import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- A personal token is a session that does not renew: server/accounts/personal-tokens.ts. Null for others.
    alter table sessions
      add column token_name text,
      add column token_hash bytea,
      add column scopes     text[];
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    delete from sessions where token_hash is not null;
    alter table sessions drop column token_name, drop column token_hash, drop column scopes;
  `)
}
