import type { Knex } from 'knex'

const DOCUMENTS = ['tasks', 'categories', 'profiles', 'conflicts']

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- A time that a clock skips is taken as the clock before would have it, one that comes twice as the second.
    create function reminder_moment(
      remind_at timestamptz, due_date date, due_time time,
      minutes_before integer, all_day_at time, zone text
    ) returns timestamptz language sql immutable as $$
      select case
        when remind_at is not null then remind_at
        when due_time is not null and minutes_before is not null then
          -- In UTC, because arithmetic with timestamptz is not immutable.
          ((due_date + due_time) at time zone zone at time zone 'UTC'
            - make_interval(mins => minutes_before)) at time zone 'UTC'
        when due_time is null and all_day_at is not null then
          (due_date + all_day_at) at time zone zone
      end
    $$;

    -- Replacing a view drops its options: server/database/wall.ts has set this one where it stands.
    create or replace view reminder_moments with (security_invoker = true) as
      select t.user_id, t.id as task_id,
        reminder_moment(
          t.remind_at, t.due_date, t.due_time, p.remind_minutes_before, p.remind_all_day_at, z.zone
        ) as due_at
      from profiles p
        -- Once for each profile and not for each task.
        cross join lateral (select known_timezone(p.timezone) as zone offset 0) z
        join tasks t on t.user_id = p.user_id
      where case when t.completed or t.deleted then false else true end;

    -- Not from the view: the task is at hand, and few need to know their timezone, which takes a subtransaction.
    create or replace function plan_reminder() returns trigger language plpgsql as $$
    declare
      wanted timestamptz(3);
    begin
      if not new.completed and not new.deleted then
        select
          reminder_moment(
            new.remind_at, new.due_date, new.due_time, p.remind_minutes_before, p.remind_all_day_at, p.zone)
          into wanted
          from (
            select remind_minutes_before, remind_all_day_at, case
              when new.remind_at is null and (remind_minutes_before is not null or remind_all_day_at is not null)
              then known_timezone(timezone) end as zone
            from profiles where user_id = new.user_id offset 0
          ) p;
      end if;
      if tg_op = 'UPDATE' then
        delete from reminders
          where user_id = new.user_id and task_id = new.id and due_at is distinct from wanted;
      end if;
      if wanted > new.updated_at then
        insert into reminders values (new.user_id, new.id, wanted)
          on conflict (user_id, task_id) do nothing;
      end if;
      return null;
    end $$;

    -- Instead of foreign keys from documents to their feed, which lock its row for each document. Every writer
    -- has locked it already. This waits for the last one, and after it nobody finds a feed to write to.
    create function delete_documents() returns trigger language plpgsql as $$
    declare
      documents text;
    begin
      -- Those that refer to others are newer. The table of a shard has the number of the shard in its name.
      for documents in
        select c.relname from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname !~ '_\\d{6,}$'
          and (select count(*) from pg_attribute a
            where a.attrelid = c.oid and a.attname in ('user_id', 'deleted', 'seq') and not a.attisdropped) = 3
        order by c.oid desc
      loop
        execute format('delete from %I where user_id = $1', documents) using old.user_id;
      end loop;
      return null;
    end $$;
    create trigger feeds_documents after delete on feeds
      for each row execute function delete_documents();
  `)
  for (const table of DOCUMENTS)
    await knex.raw('alter table ?? drop constraint ??', [table, `${table}_user_id_fkey`])
}

export async function down(knex: Knex): Promise<void> {
  for (const table of DOCUMENTS)
    await knex.raw('alter table ?? add foreign key (user_id) references feeds on delete cascade', [
      table,
    ])
  await knex.raw(`
    drop trigger feeds_documents on feeds;
    drop function delete_documents;

    create or replace function plan_reminder() returns trigger language plpgsql as $$
    declare
      wanted timestamptz(3);
    begin
      select due_at into wanted from reminder_moments where user_id = new.user_id and task_id = new.id;
      if tg_op = 'UPDATE' then
        delete from reminders
          where user_id = new.user_id and task_id = new.id and due_at is distinct from wanted;
      end if;
      if wanted > new.updated_at then
        insert into reminders values (new.user_id, new.id, wanted)
          on conflict (user_id, task_id) do nothing;
      end if;
      return null;
    end $$;

    create or replace view reminder_moments with (security_invoker = true) as
      select t.user_id, t.id as task_id,
        case
          when t.remind_at is not null then t.remind_at
          when t.due_time is not null and p.remind_minutes_before is not null then
            ((t.due_date + t.due_time) at time zone z.zone at time zone 'UTC'
              - make_interval(mins => p.remind_minutes_before)) at time zone 'UTC'
          when t.due_time is null and p.remind_all_day_at is not null then
            (t.due_date + p.remind_all_day_at) at time zone z.zone
        end as due_at
      from profiles p
        cross join lateral (select known_timezone(p.timezone) as zone offset 0) z
        join tasks t on t.user_id = p.user_id
      where case when t.completed or t.deleted then false else true end;
    drop function reminder_moment;
  `)
}
