import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table comments (
      user_id    uuid           not null,
      id         uuid           not null,
      body       text           not null,
      task_id    uuid           not null,
      subtask_id uuid,
      see_id     uuid,
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      deleted    boolean        not null default false,
      seq        bigint         not null,
      taken      bigint[]       not null default '{}',
      changed    jsonb          not null default '{}',
      primary key (user_id, id)
    );
    create unique index comments_feed on comments (user_id, seq) where seq is not null;
    create trigger comments_insert_stamp before insert on comments
      for each row when (new.seq is null) execute function stamp_change();
    create trigger comments_update_stamp before update on comments
      for each row when (new.seq = old.seq) execute function stamp_change();
    select add_horizon('comments');
    select add_reference('comments', 'task_id', 'tasks', 'cascade');
    select add_reference('comments', 'subtask_id', 'subtasks', 'cascade');
    select add_reference('comments', 'see_id', 'comments', 'clear');
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop trigger comments_task_id_released on tasks;
    drop trigger comments_task_id_removed on tasks;
    drop trigger comments_subtask_id_released on subtasks;
    drop trigger comments_subtask_id_removed on subtasks;
    drop table comments;
  `)
}
