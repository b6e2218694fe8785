import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- What happened to the security of an account, for its owner: server/accounts/events.ts. Like events
    -- of the same origin within an hour are one row that counts them.
    create table account_events (
      user_id    uuid           not null references users (id) on delete cascade,
      id         uuid           not null,
      kind       text           not null,
      outcome    text           not null,
      actor_id   uuid,          -- somebody else: staff
      network    text,          -- none: the command line, or a job
      device     text,
      details    jsonb          not null,
      request_id text,          -- of the last one
      times      int            not null,
      created_at timestamptz(3) not null,
      last_at    timestamptz(3) not null,
      primary key (user_id, id)
    );
    -- For the export and for retention.
    create index account_events_last_at on account_events (last_at, id);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table account_events')
}
