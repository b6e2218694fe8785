import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- What is due to one person, and how many they have been sent of late.
    create index reminders_user_due on reminders (user_id, due_at);
    drop index mails_user;
    create index mails_user_created on mails (user_id, created_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop index mails_user_created;
    create index mails_user on mails (user_id);
    drop index reminders_user_due;
  `)
}
