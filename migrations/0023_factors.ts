import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- The secret of an authenticator app, encrypted with the key that key_id names, and the time step of
    -- the last code that was used: no code of it or of an earlier one is accepted.
    create table totp_secrets (
      user_id    uuid           primary key references users on delete cascade,
      secret     bytea          not null,
      key_id     text           not null,
      last_step  bigint         not null,
      created_at timestamptz(3) not null
    );

    create table passkeys (
      user_id       uuid           not null references users on delete cascade,
      id            uuid           not null,
      name          text           not null,
      credential_id bytea          not null,
      public_key    bytea          not null,
      -- How often the authenticator says that it was used; 0 for ever if it does not count.
      counter       bigint         not null,
      transports    text[]         not null,
      is_synced     boolean        not null,
      created_at    timestamptz(3) not null,
      last_used_at  timestamptz(3),
      primary key (user_id, id),
      unique (user_id, credential_id)
    );

    create table recovery_codes (
      user_id   uuid           not null references users on delete cascade,
      code_hash bytea          not null,
      used_at   timestamptz(3),
      primary key (user_id, code_hash)
    );

    -- Each challenge can be answered once, on whatever node.
    create table used_challenges (
      user_id    uuid           not null references users on delete cascade,
      challenge  text           not null,
      expires_at timestamptz(3) not null,
      primary key (user_id, challenge)
    );

    -- Codes that were tried since, those of strangers apart from those of signed-in devices.
    create table factor_attempts (
      user_id  uuid           not null references users on delete cascade,
      purpose  text           not null,
      attempts integer        not null,
      since    timestamptz(3) not null,
      primary key (user_id, purpose)
    );
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(
    'drop table factor_attempts, used_challenges, recovery_codes, passkeys, totp_secrets',
  )
}
