import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- For texts that are not in ASCII; for those that are, it would take ten times as long.
    create function folded_letters(text) returns text language sql immutable strict parallel safe as $$
      select normalize(translate(
        replace(replace(replace(replace(
          regexp_replace(lower(normalize($1, NFKD) collate "und-x-icu") collate "C",
            U&'[\\0300-\\036F\\0483-\\0487\\0591-\\05BD\\05BF\\05C1\\05C2\\05C4\\05C5\\05C7\\0640\\064B-\\065F\\0670\\1AB0-\\1AFF\\1DC0-\\1DFF\\20D0-\\20FF\\FE00-\\FE0F\\FE20-\\FE2F\\00AD\\061C\\200B-\\200F\\2060\\FEFF]',
            '', 'g'),
          'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'),
        U&'\\0131\\00F8\\0142\\0111\\00F0\\0127\\0167\\03C2\\2018\\2019\\201A\\201B\\2032\\02BC\\201C\\201D\\201E\\201F\\00AB\\00BB\\2010\\2011\\2012\\2013\\2014\\2015\\2212\\0009\\000A\\000D\\0085\\1680\\2028\\2029',
        'iolddhtσ''''''''''''""""""-------       '), NFC) collate "C"
    $$;
    -- A text as it is searched: without case, accents, widths and typography. protocol/search.ts does the same.
    create function folded(text) returns text language sql immutable strict parallel safe as $$
      select case when octet_length($1) = length($1)
        then lower(replace(replace(replace($1 collate "C", E'\\n', ' '), E'\\r', ' '), E'\\t', ' '))
        else folded_letters($1)
      end
    $$;

    -- Words of the documents of a person who searches, up to a number of the feed: server/store/search-index.ts.
    -- The columns user_id, seq and deleted make both tables such of documents: only their person sees their rows,
    -- which go with the feed.
    create table search_words (
      user_id  uuid     not null,
      resource text     not null,
      word     text     collate "C" not null,
      seq      bigint   not null,
      deleted  boolean  not null default false,
      firsts   bigint[] not null,
      others   bigint[] not null,
      primary key (user_id, resource, word, seq)
    );
    create table search_parts (
      user_id    uuid        not null,
      resource   text        not null,
      seq        bigint      not null,
      nth        integer     not null,
      deleted    boolean     not null default false,
      words      text        collate "C" not null,
      indexed_at timestamptz not null default now(),
      primary key (user_id, resource, seq, nth)
    );
    create index search_parts_age on search_parts (indexed_at);
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop table search_parts, search_words;
    drop function folded, folded_letters;
  `)
}
