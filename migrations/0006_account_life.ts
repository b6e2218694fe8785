import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Set when its owner deletes it: from then on nobody gets in, and a job erases it.
    alter table users add column deleted_at timestamptz(3);

    -- How much mail an address has been sent of late.
    create index mails_recipient on mails (lower(recipient), created_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop index mails_recipient; alter table users drop column deleted_at')
}
