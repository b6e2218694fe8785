import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table plans (
      user_id    uuid           not null,
      id         uuid           not null,
      labels     text[]           not null,
      settings   jsonb            not null,
      estimate   double precision not null,
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      deleted    boolean        not null default false,
      seq        bigint         not null,
      taken      bigint[]       not null default '{}',
      changed    jsonb          not null default '{}',
      primary key (user_id, id)
    );
    create unique index plans_feed on plans (user_id, seq) where seq is not null;
    create trigger plans_insert_stamp before insert on plans
      for each row when (new.seq is null) execute function stamp_change();
    create trigger plans_update_stamp before update on plans
      for each row when (new.seq = old.seq) execute function stamp_change();
    select add_horizon('plans');
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table plans')
}
