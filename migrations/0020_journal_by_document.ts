import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- The journal keeps the last entries of each document: each new one looks for those before it.
    create index conflicts_document on conflicts (user_id, document_id) where not deleted;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop index conflicts_document')
}
