import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- When mail that anybody can ask for went to an address, by a hash of it. Outlives the accounts of
    -- that address: registering, deleting and registering again is no way around it.
    create table mail_allowances (
      address_hash bytea          not null,
      used_at      timestamptz(3) not null
    );
    create index mail_allowances_of on mail_allowances (address_hash, used_at);
    create index mail_allowances_old on mail_allowances (used_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table mail_allowances')
}
