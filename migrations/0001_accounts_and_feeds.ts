import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table users (
      id                uuid           primary key,
      username          text           not null,
      email             text           not null,
      password_hash     text           not null,
      role              text           not null default 'user' check (role in ('user', 'support', 'admin')),
      is_active         boolean        not null default true,
      email_verified_at timestamptz(3),
      created_at        timestamptz(3) not null default now()
    );
    create unique index users_username on users (lower(username));
    create unique index users_email on users (lower(email));

    -- One per signed-in device. Refresh tokens carry the generation they were made in: the current
    -- one renews, its parent may be replayed, an older one ends the session.
    create table sessions (
      id           uuid           primary key,
      user_id      uuid           not null references users (id) on delete cascade,
      generation   integer        not null default 1,
      user_agent   text           not null default '',
      created_at   timestamptz(3) not null default now(),
      last_seen_at timestamptz(3) not null default now(),
      expires_at   timestamptz(3) not null,
      revoked_at   timestamptz(3)
    );
    create index sessions_user on sessions (user_id);

    -- Attempts on the sign-in endpoints, counted for all nodes together. Unlogged: after a crash of
    -- the database the count starts again, which is no loss.
    create unlogged table rate_limits (
      key    varchar(255) primary key,
      points integer      not null default 0,
      expire bigint
    );

    -- The change counter of each user. A writer holds this row from its first line to its commit,
    -- so numbers become visible in the order in which they were given, and a reader who has seen n
    -- has seen everything up to n. Numbers may be skipped; they never appear late.
    create table feeds (
      user_id uuid   primary key references users (id) on delete cascade,
      seq     bigint not null default 0
    ) with (fillfactor = 50);  -- updated with every change: room for that on the same page

    create function open_feed() returns trigger language plpgsql as $$
    begin
      insert into feeds (user_id) values (new.id);
      return null;
    end $$;
    create trigger users_feed after insert on users for each row execute function open_feed();

    -- Numbers every change that did not bring a number of its own, so that none escapes the feed:
    -- neither a cascade nor an administrator's SQL. The store numbers its writes itself.
    create function stamp_change() returns trigger language plpgsql as $$
    declare
      next bigint;
    begin
      update feeds set seq = seq + 1 where user_id = new.user_id returning seq into next;
      if found then new.seq := next; end if;  -- gone while its user is being deleted
      return new;
    end $$;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop function stamp_change;
    drop table feeds, rate_limits, sessions, users;
    drop function open_feed;
  `)
}
