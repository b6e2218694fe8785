import type { Database } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { post } from '../mail/outbox.ts'
import { IS_REACHED } from './recipients.ts'
import { BATCH } from './reminders.ts'

export const SEND_DIGESTS = 'send_digests'

interface Due {
  user_id: string
  /** The current date in the user's timezone. */
  day: string
  /** The address; null if there is no digest today, or not yet. */
  email: string | null
}

/**
 * Queues due digests, one per user and day, and schedules the next ones. A digest that is late by days
 * becomes today's, or none if today's time is still to come.
 */
export function dueDigests(db: Database, now: () => Date) {
  return async (): Promise<void> => {
    await db.transaction(async (trx) => {
      const moment = now()
      const { rows } = await trx.raw<{ rows: Due[] }>(MOVE_DUE, { now: moment, batch: BATCH })
      await post(trx, rows.flatMap(mailOf), moment)
      if (rows.length === BATCH) await addJob(trx, SEND_DIGESTS, {}, { key: SEND_DIGESTS })
    })
  }
}

const MOVE_DUE = `
  with due as (
    select user_id from digests where due_at <= :now
    order by due_at limit :batch for update skip locked
  ), moved as (
    update digests d set due_at = next_at(p.digest_at, p.timezone, :now)
    from due join profiles p on p.user_id = due.user_id
    where d.user_id = due.user_id
    returning d.user_id, d.due_at, known_timezone(p.timezone) as zone
  ), dated as (
    select user_id, (cast(:now as timestamptz) at time zone zone)::date as day, (due_at at time zone zone)::date as next_day
    from moved
  )
  select dated.user_id, day::text,
    case when ${IS_REACHED} and next_day > day then u.email end as email
  from dated join users u on u.id = dated.user_id join profiles p on p.user_id = dated.user_id`

function mailOf({ user_id, day, email }: Due) {
  if (email === null) return []
  return [
    {
      cause: `digest ${user_id} ${day}`,
      user: user_id,
      to: email,
      letter: 'digest' as const,
      data: { day },
    },
  ]
}
