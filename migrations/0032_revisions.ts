import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- For replicas that speak CouchDB's protocol: server/sync/revisions.ts. Empty for everybody else. The columns
    -- user_id, deleted and seq make both tables such of documents: their rows go with the feed.
    create table couch_documents (
      user_id uuid    not null,
      type    text    not null,
      id      text    collate "C" not null,
      seq     bigint  not null,
      deleted boolean not null,
      primary key (user_id, type, id)
    );
    create index couch_documents_feed on couch_documents (user_id, seq) where seq > 0;
    create index couch_documents_type_feed on couch_documents (user_id, type, seq) where seq > 0;

    create table couch_revisions (
      user_id    uuid        not null,
      type       text        not null,
      id         text        collate "C" not null,
      generation int         not null,
      hash       text        not null,
      path       text[]      not null,
      deleted    boolean     not null,
      body       text,
      is_leaf    boolean     not null,
      seq        bigint      not null,
      changed_at timestamptz not null default now(),
      primary key (user_id, type, id, generation, hash)
    );
    create index couch_revisions_former on couch_revisions (changed_at) where not is_leaf;

    -- How far the feed has revisions, and up to which horizon rows were looked for that are gone.
    create table couch_feeds (
      user_id     uuid   primary key references feeds on delete cascade,
      revised_seq bigint not null,
      horizon_seq bigint not null default 0
    );

    -- Checkpoints of replicas.
    create table couch_locals (
      user_id    uuid        not null references feeds on delete cascade,
      database   text        not null,
      id         text        collate "C" not null,
      revision   int         not null,
      body       text        not null,
      changed_at timestamptz not null default now(),
      primary key (user_id, database, id)
    );
    create index couch_locals_age on couch_locals (changed_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw('drop table couch_locals, couch_feeds, couch_revisions, couch_documents')
}
