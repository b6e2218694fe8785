import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Who has deleted their account: what tells devices to forget what they keep. That somebody is
    -- not in this database tells nothing: it may be another one, or an older state of this one.
    create table deleted_accounts (
      user_id    uuid           primary key,
      deleted_at timestamptz(3) not null
    );
    insert into deleted_accounts
      select id, deleted_at from users where deleted_at is not null;

    -- Whoever asks whether somebody may come in need not ask whether they have left.
    update users set is_active = false where deleted_at is not null;
    alter table users add constraint users_deleted_is_inactive
      check (deleted_at is null or not is_active);

    -- Mail is forgotten by its age, whether it has gone out or not.
    drop index mails_settled;
    create index mails_created on mails (created_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop index mails_created;
    create index mails_settled on mails (settled_at) where settled_at is not null;
    alter table users drop constraint users_deleted_is_inactive;
    drop table deleted_accounts;
  `)
}
