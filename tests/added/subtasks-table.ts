import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table subtasks (
      user_id    uuid           not null,
      id         uuid           not null,
      title      text           not null,
      parent_id  uuid,
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      deleted    boolean        not null default false,
      seq        bigint         not null,
      taken      bigint[]       not null default '{}',
      changed    jsonb          not null default '{}',
      primary key (user_id, id)
    );
    create unique index subtasks_feed on subtasks (user_id, seq) where seq is not null;
    create trigger subtasks_insert_stamp before insert on subtasks
      for each row when (new.seq is null) execute function stamp_change();
    create trigger subtasks_update_stamp before update on subtasks
      for each row when (new.seq = old.seq) execute function stamp_change();
    select add_horizon('subtasks');
    select add_reference('subtasks', 'parent_id', 'subtasks', 'cascade');
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table subtasks')
}
