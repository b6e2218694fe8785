import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  // The defaults stay: until the last node is updated, some write entries without these columns.
  await knex.raw(`
    alter type conflicts_cause add value 'refused';
    alter table conflicts
      add column lost_json text,
      add column errors jsonb not null default '{}';
  `)
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
}
