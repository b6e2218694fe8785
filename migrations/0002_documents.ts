import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  // Documents refer to the feed rather than to the user: a writer holds its feed's row already, so
  // the foreign key costs no second row lock.
  await knex.raw(`
    create table profiles (
      user_id             uuid           not null references feeds (user_id) on delete cascade,
      id                  uuid           not null check (id = user_id),
      display_name        text           not null,
      bio                 text           not null,
      timezone            text           not null,
      locale              text           not null,
      email_notifications boolean        not null,
      created_at          timestamptz(3) not null,
      updated_at          timestamptz(3) not null,
      deleted             boolean        not null default false,
      seq                 bigint         not null,
      primary key (user_id, id)
    );

    -- People expect "apple" before "Banana" before "Émile": text that they sort by has the Unicode
    -- root collation. Order keys compare by code unit on every device, so here too.
    create table categories (
      user_id    uuid           not null references feeds (user_id) on delete cascade,
      id         uuid           not null,
      name       text           collate "und-x-icu" not null,
      color      text           not null,
      position   text           collate "C" not null,
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      deleted    boolean        not null default false,
      -- 0 marks a placeholder: a task came before its category did. It is deleted and outside the
      -- feed until the category itself fills it.
      seq        bigint         not null check (seq > 0 or deleted),
      primary key (user_id, id)
    );

    create type tasks_priority as enum ('low', 'medium', 'high');
    create table tasks (
      user_id      uuid           not null references feeds (user_id) on delete cascade,
      id           uuid           not null,
      title        text           collate "und-x-icu" not null,
      description  text           collate "und-x-icu" not null,
      category_id  uuid,
      priority     tasks_priority not null,
      due_date     date,
      due_time     time(0),
      remind_at    timestamptz(3),
      completed    boolean        not null,
      completed_at timestamptz(3),
      position     text           collate "C" not null,
      created_at   timestamptz(3) not null,
      updated_at   timestamptz(3) not null,
      deleted      boolean        not null default false,
      seq          bigint         not null,
      primary key (user_id, id),
      constraint tasks_category_id foreign key (user_id, category_id)
        references categories (user_id, id) on delete set null (category_id)
    );
    create index tasks_category on tasks (user_id, category_id) where category_id is not null;
    create index tasks_newest on tasks (user_id, created_at desc, id) where not deleted;
    create index tasks_due on tasks (user_id, due_date, id) where not deleted;

    create unique index profiles_feed on profiles (user_id, seq);
    create unique index categories_feed on categories (user_id, seq) where seq > 0;
    create unique index tasks_feed on tasks (user_id, seq);

    create trigger profiles_insert_stamp before insert on profiles
      for each row when (new.seq is null) execute function stamp_change();
    create trigger profiles_update_stamp before update on profiles
      for each row when (new.seq = old.seq) execute function stamp_change();
    create trigger categories_insert_stamp before insert on categories
      for each row when (new.seq is null) execute function stamp_change();
    create trigger categories_update_stamp before update on categories
      for each row when (new.seq = old.seq) execute function stamp_change();
    create trigger tasks_insert_stamp before insert on tasks
      for each row when (new.seq is null) execute function stamp_change();
    create trigger tasks_update_stamp before update on tasks
      for each row when (new.seq = old.seq) execute function stamp_change();

    -- The tasks of a deleted category have none, and each of them is a change of its own. They take
    -- their numbers as one range: one by one, each would leave another version of the counter's row.
    create function empty_category() returns trigger language plpgsql as $$
    declare
      affected bigint;
      first    bigint;
    begin
      select count(*) into affected from tasks where user_id = new.user_id and category_id = new.id;
      if affected = 0 then return null; end if;
      update feeds set seq = seq + affected where user_id = new.user_id
        returning seq - affected into first;
      update tasks t
        set category_id = null, updated_at = greatest(t.updated_at, new.updated_at),
            seq = first + numbered.nth
        from (
          select id, row_number() over (order by seq) as nth from tasks
          where user_id = new.user_id and category_id = new.id
        ) numbered
        where t.user_id = new.user_id and t.id = numbered.id;
      return null;
    end $$;
    create trigger categories_deleted after update of deleted on categories
      for each row when (new.deleted and new.seq > 0 and (not old.deleted or old.seq = 0))
      execute function empty_category();

    -- A foreign key is content with a deleted category, because its row is still there. Whoever
    -- writes a task has looked, but a category may be deleted while the writer waits for its turn.
    create function refuse_deleted_category() returns trigger language plpgsql as $$
    begin
      if exists (
        select from categories
        where user_id = new.user_id and id = new.category_id and deleted and seq > 0
      ) then
        raise foreign_key_violation
          using message = 'the category is deleted', constraint = 'tasks_category_id', table = 'tasks';
      end if;
      return new;
    end $$;
    create trigger tasks_category_live before insert or update of category_id on tasks
      for each row when (new.category_id is not null) execute function refuse_deleted_category();
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop table tasks, categories, profiles;
    drop type tasks_priority;
    drop function empty_category, refuse_deleted_category;
  `)
}
