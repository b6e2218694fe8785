import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- The next search begins a new index.
    truncate search_words, search_parts;

    -- Documents are counted from the first number of what was indexed together. Words of many of them have sets of bits.
    alter table search_words
      alter column firsts type integer[] using '{}',
      alter column others type integer[] using '{}',
      add column first_bits bit varying,
      add column other_bits bit varying;
    -- In the row with nth = 0: the documents that have not changed since, as far as is indexed.
    -- horizon: up to this number of the feed, documents were gone without a tombstone when this was indexed.
    alter table search_parts
      add column horizon   bigint not null,
      add column first_seq bigint,
      add column live      bit varying;
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    truncate search_words, search_parts;
    alter table search_words
      alter column firsts type bigint[] using '{}',
      alter column others type bigint[] using '{}',
      drop column first_bits,
      drop column other_bits;
    alter table search_parts
      drop column horizon,
      drop column first_seq,
      drop column live;
  `)
}
