import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  // Rows can be read while they are built, and not written.
  await knex.raw(`
    create index tasks_updated on tasks (user_id, updated_at, id) where not deleted;
    create index tasks_position on tasks (user_id, position, id) where not deleted;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop index tasks_updated; drop index tasks_position')
}
