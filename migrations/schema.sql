-- What the migrations come to, to be read; migrating runs them and not this.
-- Made by npm run schema.

create type account_links_purpose as enum ('confirm_email', 'reset_password');

create type conflicts_cause as enum ('edit', 'deletion', 'refused');

create type names_kind as enum ('username', 'email', 'link');

create type tasks_priority as enum ('low', 'medium', 'high');

create table account_events (
  user_id uuid not null,
  id uuid not null,
  kind text not null,
  outcome text not null,
  actor_id uuid,
  network text,
  device text,
  details jsonb not null,
  request_id text,
  times integer not null,
  created_at timestamp(3) with time zone not null,
  last_at timestamp(3) with time zone not null,
  constraint account_events_pkey PRIMARY KEY (user_id, id),
  constraint account_events_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table account_links (
  id uuid not null,
  user_id uuid not null,
  purpose account_links_purpose not null,
  email text not null,
  token_hash bytea not null,
  created_at timestamp(3) with time zone not null,
  expires_at timestamp(3) with time zone not null,
  used_at timestamp(3) with time zone,
  constraint account_links_pkey PRIMARY KEY (user_id, id),
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
  deleted_at timestamp(3) with time zone,
  constraint categories_pkey PRIMARY KEY (user_id, id),
  constraint categories_check CHECK (((seq > 0) OR deleted))
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
  deleted_at timestamp(3) with time zone,
  constraint conflicts_pkey PRIMARY KEY (user_id, id)
);

create table couch_documents (
  user_id uuid not null,
  type text not null,
  id text collate "C" not null,
  seq bigint not null,
  deleted boolean not null,
  constraint couch_documents_pkey PRIMARY KEY (user_id, type, id)
);

create table couch_feeds (
  user_id uuid not null,
  revised_seq bigint not null,
  horizon_seq bigint not null default 0,
  constraint couch_feeds_pkey PRIMARY KEY (user_id),
  constraint couch_feeds_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table couch_locals (
  user_id uuid not null,
  database text not null,
  id text collate "C" not null,
  revision integer not null,
  body text not null,
  changed_at timestamp with time zone not null default now(),
  constraint couch_locals_pkey PRIMARY KEY (user_id, database, id),
  constraint couch_locals_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

create table couch_revisions (
  user_id uuid not null,
  type text not null,
  id text collate "C" not null,
  generation integer not null,
  hash text not null,
  path text[] not null,
  deleted boolean not null,
  body text,
  is_leaf boolean not null,
  seq bigint not null,
  changed_at timestamp with time zone not null default now(),
  constraint couch_revisions_pkey PRIMARY KEY (user_id, type, id, generation, hash)
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

create table factor_attempts (
  user_id uuid not null,
  purpose text not null,
  attempts integer not null,
  since timestamp(3) with time zone not null,
  constraint factor_attempts_pkey PRIMARY KEY (user_id, purpose),
  constraint factor_attempts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table feeds (
  user_id uuid not null,
  seq bigint not null default 0,
  epoch text not null default '1'::text,
  timeline integer not null default wal_timeline(),
  branches jsonb not null default '{}'::jsonb,
  horizons jsonb not null default '{}'::jsonb,
  counted_seq bigint not null default 1,
  counted_at timestamp(3) with time zone,
  stored_documents bigint not null default 0,
  stored_bytes bigint not null default 0,
  constraint feeds_pkey PRIMARY KEY (user_id),
  constraint feeds_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
) with (fillfactor=50);

create table idempotency_keys (
  user_id uuid not null,
  key text collate "C" not null,
  fingerprint bytea not null,
  answer text,
  mentions uuid[] not null,
  created_at timestamp(3) with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (user_id, key),
  constraint idempotency_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES feeds(user_id) ON DELETE CASCADE
);

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
  constraint mails_pkey PRIMARY KEY (user_id, id),
  constraint mails_cause_key UNIQUE (cause),
  constraint mails_user_id_cause_key UNIQUE (user_id, cause),
  constraint mails_check CHECK (((outcome IS NULL) = (settled_at IS NULL))),
  constraint mails_outcome_check CHECK ((outcome = ANY (ARRAY['sent'::text, 'unwanted'::text, 'refused'::text])))
);

create table names (
  kind names_kind not null,
  name text not null,
  user_id uuid not null,
  constraint names_pkey PRIMARY KEY (kind, name)
);

create table passkeys (
  user_id uuid not null,
  id uuid not null,
  name text not null,
  credential_id bytea not null,
  public_key bytea not null,
  counter bigint not null,
  transports text[] not null,
  is_synced boolean not null,
  created_at timestamp(3) with time zone not null,
  last_used_at timestamp(3) with time zone,
  constraint passkeys_pkey PRIMARY KEY (user_id, id),
  constraint passkeys_user_id_credential_id_key UNIQUE (user_id, credential_id),
  constraint passkeys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
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
  deleted_at timestamp(3) with time zone,
  constraint profiles_pkey PRIMARY KEY (user_id, id),
  constraint profiles_check CHECK ((id = user_id))
);

create table rate_limits (
  key character varying(255) not null,
  points integer not null default 0,
  expire bigint,
  constraint rate_limits_pkey PRIMARY KEY (key)
);

create table recovery_codes (
  user_id uuid not null,
  code_hash bytea not null,
  used_at timestamp(3) with time zone,
  constraint recovery_codes_pkey PRIMARY KEY (user_id, code_hash),
  constraint recovery_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table reminders (
  user_id uuid not null,
  task_id uuid not null,
  due_at timestamp(3) with time zone not null,
  constraint reminders_pkey PRIMARY KEY (user_id, task_id),
  constraint reminders_user_id_task_id_fkey FOREIGN KEY (user_id, task_id) REFERENCES tasks(user_id, id) ON DELETE CASCADE
);

create table search_parts (
  user_id uuid not null,
  resource text not null,
  seq bigint not null,
  nth integer not null,
  deleted boolean not null default false,
  words text collate "C" not null,
  indexed_at timestamp with time zone not null default now(),
  horizon bigint not null,
  first_seq bigint,
  live bit varying,
  constraint search_parts_pkey PRIMARY KEY (user_id, resource, seq, nth)
);

create table search_words (
  user_id uuid not null,
  resource text not null,
  word text collate "C" not null,
  seq bigint not null,
  deleted boolean not null default false,
  firsts integer[] not null,
  others integer[] not null,
  first_bits bit varying,
  other_bits bit varying,
  constraint search_words_pkey PRIMARY KEY (user_id, resource, word, seq)
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
  feed_positions jsonb not null default '{}'::jsonb,
  renewed_from integer,
  renewed_to integer,
  renewed_at timestamp(3) with time zone,
  seen_generation integer not null default 0,
  erased_at timestamp(3) with time zone,
  token_name text,
  token_hash bytea,
  scopes text[],
  constraint sessions_pkey PRIMARY KEY (user_id, id),
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
  deleted_at timestamp(3) with time zone,
  constraint tasks_pkey PRIMARY KEY (user_id, id),
  constraint tasks_category_id FOREIGN KEY (user_id, category_id) REFERENCES categories(user_id, id) DEFERRABLE INITIALLY DEFERRED
);

create table totp_secrets (
  user_id uuid not null,
  secret bytea not null,
  key_id text not null,
  last_step bigint not null,
  created_at timestamp(3) with time zone not null,
  constraint totp_secrets_pkey PRIMARY KEY (user_id),
  constraint totp_secrets_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table used_challenges (
  user_id uuid not null,
  challenge text not null,
  expires_at timestamp(3) with time zone not null,
  constraint used_challenges_pkey PRIMARY KEY (user_id, challenge),
  constraint used_challenges_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table users (
  id uuid not null,
  username text not null,
  email text,
  password_hash text not null,
  role text not null default 'user'::text,
  is_active boolean not null default true,
  email_verified_at timestamp(3) with time zone,
  created_at timestamp(3) with time zone not null default now(),
  deleted_at timestamp(3) with time zone,
  must_confirm boolean not null default false,
  constraint users_pkey PRIMARY KEY (id),
  constraint users_role_check CHECK ((role = ANY (ARRAY['user'::text, 'support'::text, 'admin'::text]))),
  constraint users_deleted_is_inactive CHECK (((deleted_at IS NULL) OR (NOT is_active)))
);

CREATE INDEX account_events_last_at ON public.account_events USING btree (last_at, id);

CREATE INDEX audit_log_account ON public.audit_log USING btree (account_id, id);

CREATE INDEX audit_log_actor ON public.audit_log USING btree (actor_id, id);

CREATE UNIQUE INDEX categories_feed ON public.categories USING btree (user_id, seq) WHERE (seq > 0);

CREATE INDEX categories_placeholders ON public.categories USING btree (user_id, seq) WHERE (seq <= 0);

CREATE INDEX categories_tombstones ON public.categories USING btree (deleted_at) WHERE deleted;

CREATE INDEX conflicts_document ON public.conflicts USING btree (user_id, document_id) WHERE (NOT deleted);

CREATE UNIQUE INDEX conflicts_feed ON public.conflicts USING btree (user_id, seq) WHERE (seq IS NOT NULL);

CREATE INDEX conflicts_newest ON public.conflicts USING btree (user_id, created_at DESC, id) WHERE (NOT deleted);

CREATE INDEX conflicts_tombstones ON public.conflicts USING btree (deleted_at) WHERE deleted;

CREATE INDEX couch_documents_feed ON public.couch_documents USING btree (user_id, seq) WHERE (seq > 0);

CREATE INDEX couch_documents_type_feed ON public.couch_documents USING btree (user_id, type, seq) WHERE (seq > 0);

CREATE INDEX couch_locals_age ON public.couch_locals USING btree (changed_at);

CREATE INDEX couch_revisions_former ON public.couch_revisions USING btree (changed_at) WHERE (NOT is_leaf);

CREATE INDEX digests_due ON public.digests USING btree (due_at);

CREATE INDEX idempotency_keys_age ON public.idempotency_keys USING btree (created_at);

CREATE INDEX mail_allowances_of ON public.mail_allowances USING btree (address_hash, used_at);

CREATE INDEX mail_allowances_old ON public.mail_allowances USING btree (used_at);

CREATE INDEX mails_created ON public.mails USING btree (created_at);

CREATE INDEX mails_id ON public.mails USING btree (id);

CREATE INDEX mails_recipient ON public.mails USING btree (lower(recipient), created_at);

CREATE INDEX mails_user_created ON public.mails USING btree (user_id, created_at);

CREATE INDEX names_user ON public.names USING btree (user_id);

CREATE UNIQUE INDEX profiles_feed ON public.profiles USING btree (user_id, seq) WHERE (seq IS NOT NULL);

CREATE INDEX profiles_tombstones ON public.profiles USING btree (deleted_at) WHERE deleted;

CREATE INDEX reminders_due ON public.reminders USING btree (due_at);

CREATE INDEX reminders_user_due ON public.reminders USING btree (user_id, due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX search_parts_age ON public.search_parts USING btree (indexed_at);

CREATE INDEX sessions_id ON public.sessions USING btree (id);

CREATE INDEX tasks_category_id_refers ON public.tasks USING btree (user_id, category_id) WHERE (category_id IS NOT NULL);

CREATE INDEX tasks_due ON public.tasks USING btree (user_id, due_date, id) WHERE (NOT deleted);

CREATE UNIQUE INDEX tasks_feed ON public.tasks USING btree (user_id, seq) WHERE (seq IS NOT NULL);

CREATE INDEX tasks_newest ON public.tasks USING btree (user_id, created_at DESC, id) WHERE (NOT deleted);

CREATE INDEX tasks_position ON public.tasks USING btree (user_id, "position", id) WHERE (NOT deleted);

CREATE INDEX tasks_tombstones ON public.tasks USING btree (deleted_at) WHERE deleted;

CREATE INDEX tasks_updated ON public.tasks USING btree (user_id, updated_at, id) WHERE (NOT deleted);

CREATE UNIQUE INDEX users_email ON public.users USING btree (lower(email));

CREATE INDEX users_email_prefix ON public.users USING btree (lower(email) COLLATE "C");

CREATE INDEX users_inactive ON public.users USING btree (id) WHERE (NOT is_active);

CREATE INDEX users_role ON public.users USING btree (role, id);

CREATE INDEX users_unconfirmed ON public.users USING btree (created_at, id) WHERE (must_confirm AND (email_verified_at IS NULL) AND (email IS NOT NULL) AND is_active);

CREATE UNIQUE INDEX users_username ON public.users USING btree (lower(username));

CREATE INDEX users_username_prefix ON public.users USING btree (lower(username) COLLATE "C");

create view reminder_moments with (security_invoker=true) as
 SELECT t.user_id,
    t.id AS task_id,
    reminder_moment(t.remind_at, t.due_date, t.due_time, p.remind_minutes_before, p.remind_all_day_at, z.zone) AS due_at
   FROM profiles p
     CROSS JOIN LATERAL ( SELECT known_timezone(p.timezone) AS zone
         OFFSET 0) z
     JOIN tasks t ON t.user_id = p.user_id
  WHERE
        CASE
            WHEN t.completed OR t.deleted THEN false
            ELSE true
        END;

CREATE OR REPLACE FUNCTION public.add_horizon(documents text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
    begin
      execute format('alter table %I add column deleted_at timestamptz(3) default %L', documents, now());
      execute format('alter table %I alter column deleted_at drop default', documents);
      execute format(
        'create index %I on %I (deleted_at) where deleted', documents || '_tombstones', documents);
      execute format(
        'create trigger %I before insert or update on %I for each row when (new.deleted)
         execute function date_tombstone()',
        documents || '_tombstone', documents);
      execute format(
        'create trigger %I after delete on %I referencing old table as removed for each statement
         execute function move_horizon()',
        documents || '_horizon', documents);
    end $function$;

CREATE OR REPLACE FUNCTION public.add_reference(referring text, field text, target text, on_delete text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
    begin
      if on_delete not in ('clear', 'cascade') then
        raise exception 'on_delete is clear or cascade, not %', on_delete;
      end if;
      execute format(
        'create index if not exists %I on %I (user_id, %I) where %I is not null',
        referring || '_' || field || '_refers', referring, field, field);
      execute format(
        'alter table %I add constraint %I foreign key (user_id, %I) references %I (user_id, id)
         deferrable initially deferred',
        referring, referring || '_' || field, field, target);
      execute format(
        case on_delete
          when 'clear' then
            'create constraint trigger %I after insert or update of %I on %I
             deferrable initially deferred for each row when (new.%I is not null)
             execute function check_reference(%L, %L, %L)'
          else
            'create constraint trigger %I after insert or update of %I, deleted on %I
             deferrable initially deferred for each row when (new.%I is not null and not new.deleted)
             execute function check_reference(%L, %L, %L)'
        end,
        referring || '_' || field || '_live', field, referring, field, field, target, on_delete);
      execute format(
        'create trigger %I after update of deleted on %I
         for each row when (new.seq > 0 and (new.deleted <> old.deleted or old.seq <= 0))
         execute function release_references(%L, %L, %L)',
        referring || '_' || field || '_released', target, referring, field, on_delete);
      execute format(
        'create trigger %I after delete on %I
         for each row execute function release_references(%L, %L, %L)',
        referring || '_' || field || '_removed', target, referring, field, on_delete);
    end $function$;

CREATE OR REPLACE FUNCTION public.branch_feed()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    declare
      steps constant bigint := greatest(wal_timeline() - old.timeline, 1);
    begin
      new.timeline := wal_timeline();
      new.branches := old.branches || jsonb_build_object(old.epoch, old.seq);
      new.epoch := right(gen_random_uuid()::text, 12);
      new.seq := (((old.seq >> 32) + steps) << 32) + new.seq - old.seq;
      return new;
    end $function$;

CREATE OR REPLACE FUNCTION public.check_reference()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    declare
      field     constant text := tg_argv[0];
      target    constant text := tg_argv[1];
      on_delete constant text := tg_argv[2];
      id        constant uuid := row_to_json(new) ->> field;
      live      constant text := format('%s %s %s', target, new.user_id, id);
      own       constant text := regexp_replace(tg_table_name, '_\d{6,}$', '');
      is_wrong  boolean;
    begin
      -- Many documents that refer to one ask once: its state is that of the end for all of them. To plan
      -- the question takes far longer than to answer it.
      if current_setting('tasktide.live', true) is distinct from live then
        execute format('select deleted and seq > 0 from %I where user_id = $1 and id = $2', target)
          into is_wrong using new.user_id, id;
        if is_wrong is not true then perform set_config('tasktide.live', live, true); end if;
      end if;
      if is_wrong then
        -- Unless it has been released since.
        execute format(
          'select %I = $3 %s from %I where user_id = $1 and id = $2',
          field, case on_delete when 'cascade' then 'and not deleted' end, own)
          into is_wrong using new.user_id, new.id, id;
      end if;
      if is_wrong then
        raise foreign_key_violation using
          message = format('%s: what it refers to is deleted', field), table = own,
          constraint = own || '_' || field;
      end if;
      -- The store has looked for circles where it writes many documents at once (statements.ts).
      if own = target and current_setting('tasktide.trees', true) is distinct from 'checked'
        and (tg_op = 'INSERT' or row_to_json(old) ->> field is distinct from id::text)
      then
        execute format(
          'with recursive above (id) as (
             select $3
             union
             select (select t.%I from %I t where t.user_id = $1 and t.id = above.id)
             from above where id is not null
           )
           select true from above where id = $2',
          field, target)
          into is_wrong using new.user_id, new.id, id;
        if is_wrong then
          raise foreign_key_violation using
            message = format('%s: it would refer to itself', field), table = own,
            constraint = own || '_' || field;
        end if;
      end if;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.date_tombstone()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      new.deleted_at := now();
      return new;
    end $function$;

CREATE OR REPLACE FUNCTION public.delete_documents()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    declare
      documents text;
    begin
      -- Those that refer to others are newer. The table of a shard has the number of the shard in its name.
      for documents in
        select c.relname from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname !~ '_\d{6,}$'
          and (select count(*) from pg_attribute a
            where a.attrelid = c.oid and a.attname in ('user_id', 'deleted', 'seq') and not a.attisdropped) = 3
        order by c.oid desc
      loop
        execute format('delete from %I where user_id = $1', documents) using old.user_id;
      end loop;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.folded(text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
AS $function$
      select case when octet_length($1) = length($1)
        then lower(replace(replace(replace($1 collate "C", E'\n', ' '), E'\r', ' '), E'\t', ' '))
        else folded_letters($1)
      end
    $function$;

CREATE OR REPLACE FUNCTION public.folded_letters(text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
AS $function$
      select normalize(translate(
        replace(replace(replace(replace(
          regexp_replace(lower(normalize($1, NFKD) collate "und-x-icu") collate "C",
            U&'[\0300-\036F\0483-\0487\0591-\05BD\05BF\05C1\05C2\05C4\05C5\05C7\0640\064B-\065F\0670\1AB0-\1AFF\1DC0-\1DFF\20D0-\20FF\FE00-\FE0F\FE20-\FE2F\00AD\061C\200B-\200F\2060\FEFF]',
            '', 'g'),
          'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'),
        U&'\0131\00F8\0142\0111\00F0\0127\0167\03C2\2018\2019\201A\201B\2032\02BC\201C\201D\201E\201F\00AB\00BB\2010\2011\2012\2013\2014\2015\2212\0009\000A\000D\0085\1680\2028\2029',
        'iolddhtσ''''''''''''""""""-------       '), NFC) collate "C"
    $function$;

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
 IMMUTABLE
AS $function$
    begin
      perform timestamp 'epoch' at time zone name;
      return name;
    exception when invalid_parameter_value then
      return 'UTC';
    end $function$;

CREATE OR REPLACE FUNCTION public.move_horizon()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    declare
      documents constant text := regexp_replace(tg_table_name, '_\d{6,}$', '');
      horizon   constant text := format('{"%s":{"seq":#seq,"at":#at}}', documents);
      was       record;
    begin
      for was in
        select user_id, max(seq) as last, bool_or(not deleted) as is_live,
          (extract(epoch from max(updated_at)) * 1000)::bigint as at
        from removed where seq > 0 group by user_id order by user_id
      loop
        update feeds f
          set seq = f.seq + was.is_live::int,
              horizons = f.horizons || replace(
                replace(horizon, '#seq', greatest((f.horizons #>> array[documents, 'seq'])::bigint, was.last,
                  case when was.is_live then f.seq + 1 end)::text),
                '#at', greatest((f.horizons #>> array[documents, 'at'])::bigint, was.at)::text)::jsonb
          where f.user_id = was.user_id;
      end loop;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.name_link()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      if tg_op = 'DELETE' then
        delete from names where kind = 'link' and name = encode(old.token_hash, 'hex');
      else
        insert into names values ('link', encode(new.token_hash, 'hex'), new.user_id)
          on conflict (kind, name) do nothing;
      end if;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.name_user()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      if tg_op = 'DELETE' then
        delete from names where user_id = old.id;
        return null;
      end if;
      insert into names
        select own.kind, own.name, new.id
        from (values ('username'::names_kind, lower(new.username)), ('email', lower(new.email))) own (kind, name)
        where own.name is not null and not exists (
          select from names n where n.kind = own.kind and n.name = own.name and n.user_id = new.id);
      delete from names where user_id = new.id and (
        kind = 'username' and name <> lower(new.username) or kind = 'email' and name is distinct from lower(new.email));
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.next_at(at time without time zone, timezone text, after timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 IMMUTABLE
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
    end $function$;

CREATE OR REPLACE FUNCTION public.plan_reminders()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
    end $function$;

CREATE OR REPLACE FUNCTION public.release_references()
 RETURNS trigger
 LANGUAGE plpgsql
 SET enable_nestloop TO 'off'
AS $function$
    declare
      referring constant text := tg_argv[0];
      field     constant text := tg_argv[1];
      on_delete constant text := tg_argv[2];
      target    record;
      change    text;
      stamps    text;
      whose     text;
      affected  uuid[];
      first     bigint;
      other     text[];
    begin
      if tg_op = 'DELETE' then target := old; else target := new; end if;
      if on_delete = 'cascade' and tg_op = 'DELETE' then
        execute format('delete from %I where user_id = $1 and %I = $2', referring, field)
          using target.user_id, target.id;
        return null;
      end if;
      if on_delete = 'clear' then
        if not target.deleted and tg_op = 'UPDATE' then return null; end if;
        whose := 'true';
        change := format('%I = null', field);
        stamps := format('{"%s":#}', field);
      -- Under the name of the field stands when it took the document: so long as that was the last
      -- time that the document was deleted, it comes back with what it refers to.
      elsif target.deleted then
        whose := 'not t.deleted';
        change := 'deleted = true';
        stamps := format('{"_deleted":#,"_deleted.%s":#}', field);
      else
        whose := format('t.deleted and t.changed -> ''_deleted'' = t.changed -> %L', '_deleted.' || field);
        change := 'deleted = false';
        stamps := '{"_deleted":#}';
      end if;

      -- All levels of a tree at once: one trigger within another, it could be too deep for the stack.
      execute case when on_delete = 'cascade' and referring = regexp_replace(tg_table_name, '_\d{6,}$', '') then format(
        'with recursive below (id, seq) as (
           select t.id, t.seq from %1$I t where t.user_id = $1 and t.%2$I = $2 and %3$s
           union
           select t.id, t.seq from below cross join lateral (
             select * from %1$I t where t.user_id = $1 and t.%2$I = below.id and %3$s offset 0
           ) t
         )
         select array_agg(id order by seq) from below where id <> $2',
        referring, field, whose)
      else format(
        'select array_agg(id order by seq) from %I t where t.user_id = $1 and t.%I = $2 and %s',
        referring, field, whose)
      end into affected using target.user_id, target.id;
      if affected is null then return null; end if;

      update feeds set seq = seq + cardinality(affected) where user_id = target.user_id
        returning seq - cardinality(affected) into first;
      execute format(
        'update %I t set %s, changed = t.changed || replace($5, ''#'', now.ms)::jsonb, updated_at = now.at, seq = coalesce($3 + now.nth, t.seq)
         from (
           select one.id, one.nth, now.at, ((extract(epoch from now.at at time zone ''UTC'') * 1000)::bigint)::text as ms
           from unnest($2) with ordinality as one (id, nth)
           join %I was on was.user_id = $1 and was.id = any ($2) and was.id = one.id
           cross join lateral (select greatest((was.updated_at at time zone ''UTC'' + interval ''1 millisecond'') at time zone ''UTC'', $4) as at) now
         ) now
         where t.user_id = $1 and t.id = any ($2) and t.id = now.id',
        referring, change, referring)
        using target.user_id, affected, first, target.updated_at, stamps;

      -- What has come back goes again with what else it refers to, if that is deleted by now.
      if on_delete = 'cascade' and not target.deleted then
        for other in
          select string_to_array(encode(tgargs, 'escape'), '\000') from pg_trigger
          where tgrelid = referring::regclass and tgfoid = 'check_reference'::regproc
          order by tgname
        loop
          continue when other[3] <> 'cascade';
          execute format(
            'update %1$I t set deleted = true, updated_at = now.at at time zone ''UTC'',
               changed = t.changed || replace(%2$L, ''#'', ((extract(epoch from now.at) * 1000)::bigint)::text)::jsonb
             from (
               select was.id, was.updated_at at time zone ''UTC'' + interval ''1 millisecond'' as at
               from %1$I was join %3$I d on d.user_id = $1 and d.id = was.%4$I and case when d.deleted and d.seq > 0 then true else false end
               where was.user_id = $1 and was.id = any ($2) and case when was.deleted then false else true end
             ) now
             where t.user_id = $1 and t.id = any ($2) and t.id = now.id',
            referring, format('{"_deleted":#,"_deleted.%s":#}', other[1]), other[2], other[1])
            using target.user_id, affected;
        end loop;
      end if;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.reminder_moment(remind_at timestamp with time zone, due_date date, due_time time without time zone, minutes_before integer, all_day_at time without time zone, zone text)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
AS $function$
      select case
        when remind_at is not null then remind_at
        when due_time is not null and minutes_before is not null then
          -- In UTC, because arithmetic with timestamptz is not immutable.
          ((due_date + due_time) at time zone zone at time zone 'UTC'
            - make_interval(mins => minutes_before)) at time zone 'UTC'
        when due_time is null and all_day_at is not null then
          (due_date + all_day_at) at time zone zone
      end
    $function$;

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

CREATE OR REPLACE FUNCTION public.wal_timeline()
 RETURNS integer
 LANGUAGE sql
AS $function$
      select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
    $function$;

CREATE TRIGGER account_links_named AFTER INSERT OR DELETE ON account_links FOR EACH ROW EXECUTE FUNCTION name_link();

CREATE TRIGGER audit_log_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();

CREATE TRIGGER categories_horizon AFTER DELETE ON categories REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION move_horizon();

CREATE TRIGGER categories_insert_stamp BEFORE INSERT ON categories FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER categories_tombstone BEFORE INSERT OR UPDATE ON categories FOR EACH ROW WHEN (new.deleted) EXECUTE FUNCTION date_tombstone();

CREATE TRIGGER categories_update_stamp BEFORE UPDATE ON categories FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER tasks_category_id_released AFTER UPDATE OF deleted ON categories FOR EACH ROW WHEN (new.seq > 0 AND (new.deleted <> old.deleted OR old.seq <= 0)) EXECUTE FUNCTION release_references('tasks', 'category_id', 'clear');

CREATE TRIGGER tasks_category_id_removed AFTER DELETE ON categories FOR EACH ROW EXECUTE FUNCTION release_references('tasks', 'category_id', 'clear');

create policy tasktide_app on categories to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on categories to tasktide_everyone using (true);

CREATE TRIGGER conflicts_horizon AFTER DELETE ON conflicts REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION move_horizon();

CREATE TRIGGER conflicts_insert_stamp BEFORE INSERT ON conflicts FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER conflicts_tombstone BEFORE INSERT OR UPDATE ON conflicts FOR EACH ROW WHEN (new.deleted) EXECUTE FUNCTION date_tombstone();

CREATE TRIGGER conflicts_update_stamp BEFORE UPDATE ON conflicts FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

create policy tasktide_app on conflicts to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on conflicts to tasktide_everyone using (true);

create policy tasktide_app on couch_documents to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on couch_documents to tasktide_everyone using (true);

create policy tasktide_app on couch_revisions to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on couch_revisions to tasktide_everyone using (true);

CREATE TRIGGER feeds_branch BEFORE UPDATE ON feeds FOR EACH ROW WHEN (old.timeline <> wal_timeline()) EXECUTE FUNCTION branch_feed();

CREATE TRIGGER feeds_documents AFTER DELETE ON feeds FOR EACH ROW EXECUTE FUNCTION delete_documents();

create policy tasktide_app on idempotency_keys to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on idempotency_keys to tasktide_everyone using (true);

CREATE TRIGGER profiles_horizon AFTER DELETE ON profiles REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION move_horizon();

CREATE TRIGGER profiles_insert_digest AFTER INSERT ON profiles FOR EACH ROW WHEN (new.digest_at IS NOT NULL) EXECUTE FUNCTION plan_digest();

CREATE TRIGGER profiles_insert_stamp BEFORE INSERT ON profiles FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER profiles_reminders AFTER UPDATE ON profiles FOR EACH ROW WHEN (old.timezone IS DISTINCT FROM new.timezone OR old.remind_minutes_before IS DISTINCT FROM new.remind_minutes_before OR old.remind_all_day_at IS DISTINCT FROM new.remind_all_day_at) EXECUTE FUNCTION plan_reminders();

CREATE TRIGGER profiles_tombstone BEFORE INSERT OR UPDATE ON profiles FOR EACH ROW WHEN (new.deleted) EXECUTE FUNCTION date_tombstone();

CREATE TRIGGER profiles_update_digest AFTER UPDATE ON profiles FOR EACH ROW WHEN (old.digest_at IS DISTINCT FROM new.digest_at OR old.timezone IS DISTINCT FROM new.timezone) EXECUTE FUNCTION plan_digest();

CREATE TRIGGER profiles_update_stamp BEFORE UPDATE ON profiles FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

create policy tasktide_app on profiles to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on profiles to tasktide_everyone using (true);

create policy tasktide_app on search_parts to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on search_parts to tasktide_everyone using (true);

create policy tasktide_app on search_words to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on search_words to tasktide_everyone using (true);

CREATE CONSTRAINT TRIGGER tasks_category_id_live AFTER INSERT OR UPDATE OF category_id ON tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.category_id IS NOT NULL) EXECUTE FUNCTION check_reference('category_id', 'categories', 'clear');

CREATE TRIGGER tasks_horizon AFTER DELETE ON tasks REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION move_horizon();

CREATE TRIGGER tasks_insert_reminder AFTER INSERT ON tasks FOR EACH ROW WHEN ((new.remind_at IS NOT NULL OR new.due_date IS NOT NULL) AND NOT new.completed AND NOT new.deleted) EXECUTE FUNCTION plan_reminder();

CREATE TRIGGER tasks_insert_stamp BEFORE INSERT ON tasks FOR EACH ROW WHEN (new.seq IS NULL) EXECUTE FUNCTION stamp_change();

CREATE TRIGGER tasks_tombstone BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW WHEN (new.deleted) EXECUTE FUNCTION date_tombstone();

CREATE TRIGGER tasks_update_reminder AFTER UPDATE ON tasks FOR EACH ROW WHEN ((old.remind_at IS DISTINCT FROM new.remind_at OR old.due_date IS DISTINCT FROM new.due_date OR old.due_time IS DISTINCT FROM new.due_time OR old.completed IS DISTINCT FROM new.completed OR old.deleted IS DISTINCT FROM new.deleted) AND (old.remind_at IS NOT NULL OR old.due_date IS NOT NULL OR new.remind_at IS NOT NULL OR new.due_date IS NOT NULL)) EXECUTE FUNCTION plan_reminder();

CREATE TRIGGER tasks_update_stamp BEFORE UPDATE ON tasks FOR EACH ROW WHEN (new.seq = old.seq) EXECUTE FUNCTION stamp_change();

create policy tasktide_app on tasks to tasktide_app using ((user_id = ( SELECT (NULLIF(current_setting('tasktide.person'::text, true), ''::text))::uuid AS "nullif")));

create policy tasktide_everyone on tasks to tasktide_everyone using (true);

CREATE TRIGGER users_feed AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION open_feed();

CREATE TRIGGER users_named AFTER INSERT OR DELETE OR UPDATE OF username, email ON users FOR EACH ROW EXECUTE FUNCTION name_user();
