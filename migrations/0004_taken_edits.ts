import type { Knex } from 'knex'

const TABLES = ['profiles', 'categories', 'tasks', 'conflicts']

export async function up(knex: Knex): Promise<void> {
  // Marks of the pushed edits that a document has taken last, so that one that comes again is known.
  for (const table of TABLES)
    await knex.raw(`alter table ${table} add column taken bigint[] not null default '{}'`)
  await replaceEmptyCategory(
    knex,
    `greatest(t.updated_at + interval '1 millisecond', new.updated_at)`,
  )
}

export async function down(knex: Knex): Promise<void> {
  for (const table of TABLES) await knex.raw(`alter table ${table} drop column taken`)
  await replaceEmptyCategory(knex, 'greatest(t.updated_at, new.updated_at)')
}

/** As in 0002, but for when the tasks say that they were changed: later than before, as every change. */
async function replaceEmptyCategory(knex: Knex, updatedAt: string): Promise<void> {
  await knex.raw(`
    create or replace function empty_category() returns trigger language plpgsql as $$
    declare
      affected bigint;
      first    bigint;
    begin
      select count(*) into affected from tasks where user_id = new.user_id and category_id = new.id;
      if affected = 0 then return null; end if;
      update feeds set seq = seq + affected where user_id = new.user_id
        returning seq - affected into first;
      update tasks t
        set category_id = null, updated_at = ${updatedAt},
            seq = first + numbered.nth
        from (
          select id, row_number() over (order by seq) as nth from tasks
          where user_id = new.user_id and category_id = new.id
        ) numbered
        where t.user_id = new.user_id and t.id = numbered.id;
      return null;
    end $$;
  `)
}
