import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Answers to requests with an Idempotency-Key: server/sync/kept-answers.ts. An answer without content is
    -- one that mentions a document which was deleted for good.
    create table idempotency_keys (
      user_id     uuid           not null references feeds on delete cascade,
      key         text           collate "C" not null,
      fingerprint bytea          not null,
      answer      text,
      mentions    uuid[]         not null,
      created_at  timestamptz(3) not null,
      primary key (user_id, key)
    );
    create index idempotency_keys_age on idempotency_keys (created_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table idempotency_keys')
}
