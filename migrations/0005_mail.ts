import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- What is to be said to people, written in the transaction that causes it. Outlives its account,
    -- whose end is itself told by mail; hence no foreign key.
    create table mails (
      id         uuid           primary key,
      -- What it is sent for, once: 'reminder <task> <moment>'. The same cause again is no second mail.
      cause      text           not null unique,
      user_id    uuid           not null,
      recipient  text           not null,
      letter     text           not null,
      -- What the letter needs, by reference: ids rather than texts, and no token.
      data       jsonb          not null,
      locale     text           not null,
      timezone   text           not null,
      created_at timestamptz(3) not null,
      outcome    text           check (outcome in ('sent', 'unwanted', 'refused')),
      settled_at timestamptz(3),
      check ((outcome is null) = (settled_at is null))
    );
    create index mails_user on mails (user_id);
    create index mails_settled on mails (settled_at) where settled_at is not null;

    -- Links that are sent by mail: each for one purpose, one use, and a limited time.
    create type account_links_purpose as enum ('confirm_email', 'reset_password');
    create table account_links (
      id         uuid                  primary key,
      user_id    uuid                  not null references users (id) on delete cascade,
      purpose    account_links_purpose not null,
      -- The address that it goes to, and that it proves.
      email      text                  not null,
      token_hash bytea                 not null unique,
      created_at timestamptz(3)        not null,
      expires_at timestamptz(3)        not null,
      used_at    timestamptz(3)
    );
    create index account_links_user on account_links (user_id);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table account_links, mails; drop type account_links_purpose')
}
