import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table profiles
      add column remind_minutes_before integer,
      add column remind_all_day_at     time(0),
      add column digest_at             time(0);

    -- Devices may know timezones that this Postgres does not. No edit fails for that.
    create function known_timezone(name text) returns text language plpgsql stable as $$
    begin
      perform timestamp 'epoch' at time zone name;
      return name;
    exception when invalid_parameter_value then
      return 'UTC';
    end $$;

    -- When each open task is to be reminded of, if ever. A time that a clock skips is taken as the
    -- clock before would have it, one that comes twice as the second.
    create view reminder_moments as
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

    -- The reminders that are still to come: gone when they are sent, or not wanted any more.
    create table reminders (
      user_id uuid           not null,
      task_id uuid           not null,
      due_at  timestamptz(3) not null,
      primary key (user_id, task_id),
      foreign key (user_id, task_id) references tasks (user_id, id) on delete cascade
    );
    create index reminders_due on reminders (due_at);

    -- A moment counts if it lay ahead when the edit was made, however late the edit comes here. One
    -- that stays as it was is left alone: it may be late already, and is still to be sent.
    create function plan_reminder() returns trigger language plpgsql as $$
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
    create trigger tasks_insert_reminder after insert on tasks for each row
      when ((new.remind_at is not null or new.due_date is not null) and not new.completed and not new.deleted)
      execute function plan_reminder();
    create trigger tasks_update_reminder after update on tasks for each row
      when (
        (old.remind_at, old.due_date, old.due_time, old.completed, old.deleted)
          is distinct from (new.remind_at, new.due_date, new.due_time, new.completed, new.deleted)
        and (old.remind_at is not null or old.due_date is not null
          or new.remind_at is not null or new.due_date is not null))
      execute function plan_reminder();

    create function plan_reminders() returns trigger language plpgsql as $$
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
    create trigger profiles_reminders after update on profiles for each row
      when ((old.timezone, old.remind_minutes_before, old.remind_all_day_at)
        is distinct from (new.timezone, new.remind_minutes_before, new.remind_all_day_at))
      execute function plan_reminders();

    -- The next digest of those who want one.
    create table digests (
      user_id uuid           primary key references feeds (user_id) on delete cascade,
      due_at  timestamptz(3) not null
    );
    create index digests_due on digests (due_at);

    -- The first moment after another one at which clocks of a timezone show a time.
    create function next_at(at time, timezone text, after timestamptz)
      returns timestamptz language plpgsql stable as $$
    declare
      zone   text := known_timezone(timezone);
      today  date := (after at time zone zone)::date;
      moment timestamptz := (today + at) at time zone zone;
    begin
      return case when moment > after then moment else (today + 1 + at) at time zone zone end;
    end $$;

    create function plan_digest() returns trigger language plpgsql as $$
    begin
      delete from digests where user_id = new.user_id;
      if new.digest_at is not null then
        insert into digests
          values (new.user_id, next_at(new.digest_at, new.timezone, new.updated_at));
      end if;
      return null;
    end $$;
    create trigger profiles_insert_digest after insert on profiles for each row
      when (new.digest_at is not null) execute function plan_digest();
    create trigger profiles_update_digest after update on profiles for each row
      when ((old.digest_at, old.timezone) is distinct from (new.digest_at, new.timezone))
      execute function plan_digest();

    insert into reminders select * from reminder_moments where due_at > now();
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop trigger tasks_insert_reminder on tasks;
    drop trigger tasks_update_reminder on tasks;
    drop trigger profiles_reminders on profiles;
    drop trigger profiles_insert_digest on profiles;
    drop trigger profiles_update_digest on profiles;
    drop function plan_reminder, plan_reminders, plan_digest, next_at;
    drop table reminders, digests;
    drop view reminder_moments;
    drop function known_timezone;
    alter table profiles
      drop column remind_minutes_before, drop column remind_all_day_at, drop column digest_at;
  `)
}
