import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- What was done to accounts by others than their owners, written in the transaction that did it.
    -- It outlives whoever it names: no foreign keys, and the names that they had at the time.
    create table audit_log (
      id         uuid           primary key,
      actor_id   uuid,          -- none: the command line
      actor      text           not null,
      action     text           not null,
      account_id uuid           not null,
      account    text           not null,
      details    jsonb          not null,
      request_id text,
      address    text,
      created_at timestamptz(3) not null
    );
    create index audit_log_account on audit_log (account_id, id);
    create index audit_log_actor on audit_log (actor_id, id);

    -- It only grows. Who owns the table can still prune it, on purpose: see docs/roles.md.
    create function keep_audit_log() returns trigger language plpgsql as $$
    begin
      raise exception 'the audit log only grows'
        using hint = 'docs/roles.md says how old entries are pruned.';
    end $$;
    create trigger audit_log_kept before update or delete or truncate on audit_log
      for each statement execute function keep_audit_log();

    -- Accounts are listed for administrators: by how a name or address begins, whatever the
    -- collation of the database, and by what most of them are not.
    create index users_username_prefix on users (lower(username) collate "C");
    create index users_email_prefix on users (lower(email) collate "C");
    create index users_role on users (role, id);
    create index users_inactive on users (id) where not is_active;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop index users_username_prefix, users_email_prefix, users_role, users_inactive;
    drop table audit_log;
    drop function keep_audit_log;
  `)
}
