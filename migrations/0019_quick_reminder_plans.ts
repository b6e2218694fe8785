import type { Knex } from 'knex'

/**
 * A change of the timezone plans all reminders of a user anew. To ask for each task whether Postgres knows the
 * timezone took most of the time, and each reminder was deleted and inserted again. With 100,000 tasks that
 * took longer than a request may.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- Replacing a view drops its options: server/database/wall.ts has set this one where it stands.
    create or replace view reminder_moments with (security_invoker = true) as
      select t.user_id, t.id as task_id,
        case
          when t.remind_at is not null then t.remind_at
          when t.due_time is not null and p.remind_minutes_before is not null then
            -- In UTC, because arithmetic with timestamptz is not immutable.
            ((t.due_date + t.due_time) at time zone z.zone at time zone 'UTC'
              - make_interval(mins => p.remind_minutes_before)) at time zone 'UTC'
          when t.due_time is null and p.remind_all_day_at is not null then
            (t.due_date + p.remind_all_day_at) at time zone z.zone
        end as due_at
      from profiles p
        -- Once for each profile and not for each task.
        cross join lateral (select known_timezone(p.timezone) as zone offset 0) z
        join tasks t on t.user_id = p.user_id
      where not t.completed and not t.deleted;

    create or replace function plan_reminders() returns trigger language plpgsql as $$
    begin
      with moments as materialized (
        select task_id, due_at from reminder_moments where user_id = new.user_id and due_at is not null
      ), unwanted as (
        delete from reminders r where r.user_id = new.user_id and not exists (
          select from moments m
          where m.task_id = r.task_id and (m.due_at = r.due_at or m.due_at > new.updated_at))
      ), moved as (
        update reminders r set due_at = m.due_at from moments m
        where r.user_id = new.user_id and m.task_id = r.task_id
          and m.due_at <> r.due_at and m.due_at > new.updated_at
      )
      insert into reminders
        select new.user_id, m.task_id, m.due_at from moments m
        where m.due_at > new.updated_at and not exists (
          select from reminders r where r.user_id = new.user_id and r.task_id = m.task_id)
        on conflict (user_id, task_id) do nothing;
      return null;
    end $$;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    create or replace view reminder_moments as
      select t.user_id, t.id as task_id,
        case
          when t.remind_at is not null then t.remind_at
          when t.due_time is not null and p.remind_minutes_before is not null then
            (t.due_date + t.due_time) at time zone known_timezone(p.timezone)
              - make_interval(mins => p.remind_minutes_before)
          when t.due_time is null and p.remind_all_day_at is not null then
            (t.due_date + p.remind_all_day_at) at time zone known_timezone(p.timezone)
        end as due_at
      from tasks t join profiles p on p.user_id = t.user_id
      where not t.completed and not t.deleted;

    create or replace function plan_reminders() returns trigger language plpgsql as $$
    begin
      delete from reminders r where r.user_id = new.user_id and not exists (
        select from reminder_moments m
        where m.user_id = r.user_id and m.task_id = r.task_id and m.due_at = r.due_at);
      insert into reminders
        select user_id, task_id, due_at from reminder_moments
        where user_id = new.user_id and due_at > new.updated_at
        on conflict (user_id, task_id) do nothing;
      return null;
    end $$;
  `)
}
