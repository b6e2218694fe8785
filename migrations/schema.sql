-- What the migrations come to, to be read; migrating runs them and not this.
-- Made by npm run schema.

create type account_links_purpose as enum ('confirm_email', 'reset_password');

create type conflicts_cause as enum ('edit', 'deletion', 'refused');

create type tasks_priority as enum ('low', 'medium', 'high');

create table account_links (
  id uuid not null,
  user_id uuid not null,
  purpose account_links_purpose not null,
  email text not null,
  token_hash bytea not null,
  created_at timestamp(3) with time zone not null,
  expires_at timestamp(3) with time zone not null,
  used_at timestamp(3) with time zone,
  constraint account_links_pkey PRIMARY KEY (id),
  constraint account_links_token_hash_key UNIQUE (token_hash),
  constraint account_links_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table audit_log (
  id uuid not null,
  actor_id uuid,
  actor text not null,
  action text not null,
  account_id uuid not null,
  account text not null,
  details jsonb not null,
  request_id text,
  address text,
  created_at timestamp(3) with time zone not null,
  constraint audit_log_pkey PRIMARY KEY (id)
);

create table categories (
  user_id uuid not null,
  id uuid not null,
  name text collate "und-x-icu" not null,
  color text not null,
  "position" text collate "C" not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  deleted boolean not null default false,
  seq bigint not null,
  taken bigint[] not null default '{}'::bigint[],
  changed jsonb not null default '{}'::jsonb,
  constraint categories_pkey PRIMARY KEY (user_id, id),
  constraint categories_check CHECK (((seq > 0) OR deleted)),
  constraint categories_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table conflicts (
  user_id uuid not null,
  id uuid not null,
  resource text not null,
  document_id uuid not null,
  cause conflicts_cause not null,
  lost jsonb not null,
  kept jsonb not null,
  lost_at timestamp(3) with time zone not null,
  session_id uuid,
  restored_at timestamp(3) with time zone,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  deleted boolean not null default false,
  seq bigint not null,
  taken bigint[] not null default '{}'::bigint[],
  lost_json text,
  errors jsonb not null default '{}'::jsonb,
  changed jsonb not null default '{}'::jsonb,
  constraint conflicts_pkey PRIMARY KEY (user_id, id),
  constraint conflicts_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table deleted_accounts (
  user_id uuid not null,
  deleted_at timestamp(3) with time zone not null,
  constraint deleted_accounts_pkey PRIMARY KEY (user_id)
);

create table digests (
  user_id uuid not null,
  due_at timestamp(3) with time zone not null,
  constraint digests_pkey PRIMARY KEY (user_id),
  constraint digests_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table feeds (
  user_id uuid not null,
  seq bigint not null default 0,
  constraint feeds_pkey PRIMARY KEY (user_id),
  constraint feeds_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
) with (fillfactor=50);

create table mail_allowances (
  address_hash bytea not null,
  used_at timestamp(3) with time zone not null
);

create table mails (
  id uuid not null,
  cause text not null,
  user_id uuid not null,
  recipient text not null,
  letter text not null,
  data jsonb not null,
  locale text not null,
  timezone text not null,
  created_at timestamp(3) with time zone not null,
  outcome text,
  settled_at timestamp(3) with time zone,
  constraint mails_pkey PRIMARY KEY (id),
  constraint mails_cause_key UNIQUE (cause),
  constraint mails_check CHECK (((outcome IS NULL) = (settled_at IS NULL))),
  constraint mails_outcome_check CHECK ((outcome = ANY (ARRAY['sent'::text, 'unwanted'::text, 'refused'::text])))
);

create table profiles (
  user_id uuid not null,
  id uuid not null,
  display_name text not null,
  bio text not null,
  timezone text not null,
  locale text not null,
  email_notifications boolean not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  deleted boolean not null default false,
  seq bigint not null,
  taken bigint[] not null default '{}'::bigint[],
  remind_minutes_before integer,
  remind_all_day_at time(0) without time zone,
  digest_at time(0) without time zone,
  changed jsonb not null default '{}'::jsonb,
  constraint profiles_pkey PRIMARY KEY (user_id, id),
  constraint profiles_check CHECK ((id = user_id)),
  constraint profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table rate_limits (
  key character varying(255) not null,
  points integer not null default 0,
  expire bigint,
  constraint rate_limits_pkey PRIMARY KEY (key)
);

create table reminders (
  user_id uuid not null,
  task_id uuid not null,
  due_at timestamp(3) with time zone not null,
  constraint reminders_pkey PRIMARY KEY (user_id, task_id),
  constraint reminders_user_id_task_id_fkey FOREIGN KEY (user_id, task_id) REFERENCES tasks(user_id, id) ON DELETE CASCADE
);

create table sessions (
  id uuid not null,
  user_id uuid not null,
  generation integer not null default 1,
  user_agent text not null default ''::text,
  created_at timestamp(3) with time zone not null default now(),
  last_seen_at timestamp(3) with time zone not null default now(),
  expires_at timestamp(3) with time zone not null,
  revoked_at timestamp(3) with time zone,
  constraint sessions_pkey PRIMARY KEY (id),
  constraint sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table tasks (
  user_id uuid not null,
  id uuid not null,
  title text collate "und-x-icu" not null,
  description text collate "und-x-icu" not null,
  category_id uuid,
  priority tasks_priority not null,
  due_date date,
  due_time time(0) without time zone,
  remind_at timestamp(3) with time zone,
  completed boolean not null,
  completed_at timestamp(3) with time zone,
  "position" text collate "C" not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  deleted boolean not null default false,
  seq bigint not null,
  taken bigint[] not null default '{}'::bigint[],
  changed jsonb not null default '{}'::jsonb,
  constraint tasks_pkey PRIMARY KEY (user_id, id),
  constraint tasks_category_id FOREIGN KEY (user_id, category_id) REFERENCES categories(user_id, id) ON DELETE SET NULL (category_id),
  constraint tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table users (
  id uuid not null,
  username text not null,
  email text not null,
  password_hash text not null,
  role text not null default 'user'::text,
  is_active boolean not null default true,
  email_verified_at timestamp(3) with time zone,
  created_at timestamp(3) with time zone not null default now(),
  deleted_at timestamp(3) with time zone,
  constraint users_pkey PRIMARY KEY (id),
  constraint users_role_check CHECK ((role = ANY (ARRAY['user'::text, 'support'::text, 'admin'::text]))),
  constraint users_deleted_is_inactive CHECK (((deleted_at IS NULL) OR (NOT is_active)))
);

CREATE INDEX account_links_user ON public.account_links USING btree (user_id);

CREATE INDEX audit_log_account ON public.audit_log USING btree (account_id, id);

CREATE INDEX audit_log_actor ON public.audit_log USING btree (actor_id, id);

CREATE UNIQUE INDEX categories_feed ON public.categories USING btree (user_id, seq) WHERE (seq > 0);

CREATE UNIQUE INDEX conflicts_feed ON public.conflicts USING btree (user_id, seq);

CREATE INDEX conflicts_newest ON public.conflicts USING btree (user_id, created_at DESC, id) WHERE (NOT deleted);

CREATE INDEX digests_due ON public.digests USING btree (due_at);

CREATE INDEX mail_allowances_of ON public.mail_allowances USING btree (address_hash, used_at);

CREATE INDEX mail_allowances_old ON public.mail_allowances USING btree (used_at);

CREATE INDEX mails_created ON public.mails USING btree (created_at);

CREATE INDEX mails_recipient ON public.mails USING btree (lower(recipient), created_at);

CREATE INDEX mails_user_created ON public.mails USING btree (user_id, created_at);

CREATE UNIQUE INDEX profiles_feed ON public.profiles USING btree (user_id, seq);

CREATE INDEX reminders_due ON public.reminders USING btree (due_at);

CREATE INDEX reminders_user_due ON public.reminders USING btree (user_id, due_at);

CREATE INDEX sessions_user ON public.sessions USING btree (user_id);

CREATE INDEX tasks_category ON public.tasks USING btree (user_id, category_id) WHERE (category_id IS NOT NULL);

CREATE INDEX tasks_due ON public.tasks USING btree (user_id, due_date, id) WHERE (NOT deleted);

CREATE UNIQUE INDEX tasks_feed ON public.tasks USING btree (user_id, seq);

CREATE INDEX tasks_newest ON public.tasks USING btree (user_id, created_at DESC, id) WHERE (NOT deleted);

CREATE UNIQUE INDEX users_email ON public.users USING btree (lower(email));

CREATE INDEX users_email_prefix ON public.users USING btree (lower(email) COLLATE "C");

CREATE INDEX users_inactive ON public.users USING btree (id) WHERE (NOT is_active);

CREATE INDEX users_role ON public.users USING btree (role, id);

CREATE UNIQUE INDEX users_username ON public.users USING btree (lower(username));

CREATE INDEX users_username_prefix ON public.users USING btree (lower(username) COLLATE "C");

create view reminder_moments as
 SELECT t.user_id,
    t.id AS task_id,
        CASE
            WHEN t.remind_at IS NOT NULL THEN t.remind_at
            WHEN t.due_time IS NOT NULL AND p.remind_minutes_before IS NOT NULL THEN ((t.due_date + t.due_time) AT TIME ZONE known_timezone(p.timezone)) - make_interval(mins => p.remind_minutes_before)
            WHEN t.due_time IS NULL AND p.remind_all_day_at IS NOT NULL THEN ((t.due_date + p.remind_all_day_at) AT TIME ZONE known_timezone(p.timezone))
            ELSE NULL::timestamp with time zone
        END AS due_at
   FROM tasks t
     JOIN profiles p ON p.user_id = t.user_id
  WHERE NOT t.completed AND NOT t.deleted;

CREATE OR REPLACE FUNCTION public.empty_category()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
            seq = first + numbered.nth, changed = t.changed || jsonb_build_object('category_id', (extract(epoch from
          greatest(t.updated_at + interval '1 millisecond', new.updated_at)) * 1000)::bigint)
        from (
          select id, row_number() over (order by seq) as nth from tasks
          where user_id = new.user_id and category_id = new.id
        ) numbered
        where t.user_id = new.user_id and t.id = numbered.id;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.keep_audit_log()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      raise exception 'the audit log only grows'
        using hint = 'docs/roles.md says how old entries are pruned.';
    end $function$;

CREATE OR REPLACE FUNCTION public.known_timezone(name text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
AS $function$
    begin
      perform timestamp 'epoch' at time zone name;
      return name;
    exception when invalid_parameter_value then
      return 'UTC';
    end $function$;

CREATE OR REPLACE FUNCTION public.next_at(at time without time zone, timezone text, after timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 STABLE
AS $function$
    declare
      zone   text := known_timezone(timezone);
      today  date := (after at time zone zone)::date;
      moment timestamptz := (today + at) at time zone zone;
    begin
      return case when moment > after then moment else (today + 1 + at) at time zone zone end;
    end $function$;

CREATE OR REPLACE FUNCTION public.open_feed()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      insert into feeds (user_id) values (new.id);
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.plan_digest()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      delete from digests where user_id = new.user_id;
      if new.digest_at is not null then
        insert into digests
          values (new.user_id, next_at(new.digest_at, new.timezone, new.updated_at));
      end if;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.plan_reminder()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
    end $function$;

CREATE OR REPLACE FUNCTION public.plan_reminders()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      delete from reminders r where r.user_id = new.user_id and not exists (
        select from reminder_moments m
        where m.user_id = r.user_id and m.task_id = r.task_id and m.due_at = r.due_at);
      insert into reminders
        select user_id, task_id, due_at from reminder_moments
        where user_id = new.user_id and due_at > new.updated_at
        on conflict (user_id, task_id) do nothing;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.refuse_deleted_category()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      if exists (
        select from categories
        where user_id = new.user_id and id = new.category_id and deleted and seq > 0
      ) then
        raise foreign_key_violation
          using message = 'the category is deleted', constraint = 'tasks_category_id', table = 'tasks';
      end if;
      return new;
    end $function$;

CREATE OR REPLACE FUNCTION public.stamp_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    declare
      next bigint;
    begin
      update feeds set seq = seq + 1 where user_id = new.user_id returning seq into next;
      if found then new.seq := next; end if;  -- gone while its user is being deleted
      return new;
    end $function$;

CREATE TRIGGER audit_log_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

CREATE TRIGGER categories_deleted AFTER UPDATE OF deleted ON categories FOR EACH ROW WHEN (new.deleted AND new.seq > 0 AND (NOT old.deleted OR old.seq = 0)) EXECUTE FUNCTION empty_category();

CREATE TRIGGER categories_insert_stamp BEFORE INSERT ON categories FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER categories_update_stamp BEFORE UPDATE ON categories FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER conflicts_insert_stamp BEFORE INSERT ON conflicts FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER conflicts_update_stamp BEFORE UPDATE ON conflicts FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER profiles_insert_digest AFTER INSERT ON profiles FOR EACH ROW WHEN (new.digest_at IS NOT NULL) EXECUTE FUNCTION plan_digest();

CREATE TRIGGER profiles_insert_stamp BEFORE INSERT ON profiles FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER profiles_reminders AFTER UPDATE ON profiles FOR EACH ROW WHEN (old.timezone IS DISTINCT FROM new.timezone OR old.remind_minutes_before IS DISTINCT FROM new.remind_minutes_before OR old.remind_all_day_at IS DISTINCT FROM new.remind_all_day_at) EXECUTE FUNCTION plan_reminders();

CREATE TRIGGER profiles_update_digest AFTER UPDATE ON profiles FOR EACH ROW WHEN (old.digest_at IS DISTINCT FROM new.digest_at OR old.timezone IS DISTINCT FROM new.timezone) EXECUTE FUNCTION plan_digest();

CREATE TRIGGER profiles_update_stamp BEFORE UPDATE ON profiles FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER tasks_category_live BEFORE INSERT OR UPDATE OF category_id ON tasks FOR EACH ROW WHEN (new.category_id IS NOT NULL) EXECUTE FUNCTION refuse_deleted_category();

CREATE TRIGGER tasks_insert_reminder AFTER INSERT ON tasks FOR EACH ROW WHEN ((new.remind_at IS NOT NULL OR new.due_date IS NOT NULL) AND NOT new.completed AND NOT new.deleted) EXECUTE FUNCTION plan_reminder();

CREATE TRIGGER tasks_insert_stamp BEFORE INSERT ON tasks FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER tasks_update_reminder AFTER UPDATE ON tasks FOR EACH ROW WHEN ((old.remind_at IS DISTINCT FROM new.remind_at OR old.due_date IS DISTINCT FROM new.due_date OR old.due_time IS DISTINCT FROM new.due_time OR old.completed IS DISTINCT FROM new.completed OR old.deleted IS DISTINCT FROM new.deleted) AND (old.remind_at IS NOT NULL OR old.due_date IS NOT NULL OR new.remind_at IS NOT NULL OR new.due_date IS NOT NULL)) EXECUTE FUNCTION plan_reminder();

CREATE TRIGGER tasks_update_stamp BEFORE UPDATE ON tasks FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER users_feed AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION open_feed();
