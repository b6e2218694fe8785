import type pg from 'pg'
import { type Database, OF_EVERYONE, runOn, type Statement } from '../database/connect.ts'
import { idsIn, KEPT_MS, type KeptAnswers, MAX_KEPT, MAX_KEPT_BYTES } from '../sync/kept-answers.ts'

/** `$1` user, `$2` key, `$3` since. */
const findSql: Statement = {
  name: 'tasktide_find_answer',
  text: `
    select fingerprint, answer from idempotency_keys
    where user_id = $1 and key = $2 and created_at > $3`,
}

/** `$1` user, `$2` key, `$3` fingerprint, `$4` answer, `$5` what it mentions, `$6` at, `$7` since. One row if there was room. */
const keepSql: Statement = {
  name: 'tasktide_keep_answer',
  text: `
    insert into idempotency_keys (user_id, key, fingerprint, answer, mentions, created_at)
    select $1::uuid, $2, $3::bytea, $4::text, $5::uuid[], $6::timestamptz from (
      -- Of a text that is stored elsewhere, octet_length reads nothing but its length.
      select count(*) as answers, coalesce(sum(octet_length(answer)), 0) as bytes from idempotency_keys
      where user_id = $1 and created_at > $7
    ) kept
    where kept.answers < ${MAX_KEPT} and kept.bytes + octet_length($4::text) <= ${MAX_KEPT_BYTES}
    on conflict (user_id, key) do update set fingerprint = excluded.fingerprint, answer = excluded.answer,
      mentions = excluded.mentions, created_at = excluded.created_at
    returning 1`,
}

/** `$1` user, `$2` ids. */
const dropSql: Statement = {
  name: 'tasktide_drop_answers',
  text: `
    update idempotency_keys set answer = null, mentions = '{}'
    where user_id = $1 and mentions && $2::uuid[]`,
}

export function keptAnswersOn(connection: pg.ClientBase, user: string): KeptAnswers {
  return {
    async find(key, since) {
      const [row] = await runOn<[Buffer, string | null]>(connection, findSql, [user, key, since])
      return row && { fingerprint: row[0], answer: row[1] }
    },

    async keep(key, { fingerprint, answer }, { since, at }) {
      const values = [user, key, fingerprint, answer, idsIn(answer), at, since]
      return (await runOn(connection, keepSql, values)).length > 0
    },

    async dropAbout(ids) {
      await runOn(connection, dropSql, [user, ids])
    },
  }
}

export async function deleteOldAnswers(db: Database, now: Date): Promise<void> {
  const since = new Date(now.getTime() - KEPT_MS)
  await db('idempotency_keys').where('created_at', '<', since).delete().options(OF_EVERYONE)
}
