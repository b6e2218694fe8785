import type { Knex } from 'knex'

const TABLES = ['profiles', 'categories', 'tasks', 'conflicts']

export async function up(knex: Knex): Promise<void> {
  // The defaults stay: until the last node is updated, some write entries without these columns.
  await knex.raw(`
    alter type conflicts_cause add value 'refused';
    alter table conflicts
      add column lost_json text,
      add column errors jsonb not null default '{}';
  `)
  // When each field was last changed, so that an edit which is pushed again finds that so.
  for (const table of TABLES)
    await knex.raw(`alter table ${table} add column changed jsonb not null default '{}'`)
  await replaceEmptyCategory(
    knex,
    `, changed = t.changed || jsonb_build_object('category_id', (extract(epoch from
          greatest(t.updated_at + interval '1 millisecond', new.updated_at)) * 1000)::bigint)`,
  )
}

export async function down(knex: Knex): Promise<void> {
  // An enum cannot lose a value: it is made anew.
  await knex.raw(`
    delete from conflicts where cause = 'refused';
    alter table conflicts drop column lost_json, drop column errors;
    alter type conflicts_cause rename to conflicts_cause_before;
    create type conflicts_cause as enum ('edit', 'deletion');
    alter table conflicts alter column cause type conflicts_cause
      using cause::text::conflicts_cause;
    drop type conflicts_cause_before;
  `)
  await replaceEmptyCategory(knex, '')
  for (const table of TABLES) await knex.raw(`alter table ${table} drop column changed`)
}

/** As in 0004, but for what else is set. */
async function replaceEmptyCategory(knex: Knex, andSet: string): Promise<void> {
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
        set category_id = null, updated_at = greatest(t.updated_at + interval '1 millisecond', new.updated_at),
            seq = first + numbered.nth${andSet}
        from (
          select id, row_number() over (order by seq) as nth from tasks
          where user_id = new.user_id and category_id = new.id
        ) numbered
        where t.user_id = new.user_id and t.id = numbered.id;
      return null;
    end $$;
  `)
}
