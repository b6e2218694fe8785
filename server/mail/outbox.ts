import { v7 as uuidv7 } from 'uuid'
import { type Database, OF_EVERYONE } from '../database/connect.ts'
import { MAX_ATTEMPTS, SOON } from '../jobs/queue.ts'
import type { TemplateName } from './templates/template.ts'

export const SEND_MAIL = 'send_mail'

export interface Mail {
  /** Deduplicates: there is one mail per cause. */
  cause: string
  user: string
  /** The address. */
  to: string
  letter: TemplateName
  /** For the template data, which is read when the mail is sent: ids, no secrets. */
  data?: Record<string, unknown>
}

/**
 * Queues mails in the caller's transaction: they are sent only if it commits. Language and timezone are
 * read from the profile now. Mails that somebody waits for have priority over those of which there may be many.
 */
export async function post(trx: Database, mails: readonly Mail[], now: Date): Promise<void> {
  const rows = mails.map(({ user, to, data = {}, ...mail }) => ({
    ...mail,
    id: uuidv7(),
    user_id: user,
    recipient: to,
    data,
  }))
  // It reads the profiles of many people.
  await trx
    .raw(POST, [now, JSON.stringify(rows), SEND_MAIL, MAX_ATTEMPTS, SOON])
    .options(OF_EVERYONE)
}

const POST = `
  with posted as (
    insert into mails (id, cause, user_id, recipient, letter, data, locale, timezone, created_at)
    select m.id, m.cause, m.user_id, m.recipient, m.letter, m.data, p.locale, p.timezone, ?
    from jsonb_to_recordset(?::jsonb)
      as m (id uuid, cause text, user_id uuid, recipient text, letter text, data jsonb)
    join profiles p on p.user_id = m.user_id
    on conflict (user_id, cause) do nothing
    returning user_id, id, letter
  )
  select graphile_worker.add_job(?, payload := json_build_object('id', id, 'user', user_id), max_attempts := ?,
    priority := case when letter in ('reminder', 'digest', 'unconfirmed_account') then 0 else ? end)
  from posted`
