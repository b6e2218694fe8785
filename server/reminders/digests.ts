import { type Database, run } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { post } from '../mail/outbox.ts'
import { IS_REACHED } from './recipients.ts'
import { BATCH } from './reminders.ts'

export const SEND_DIGESTS = 'send_digests'

/**
 * Queues due digests, one per user and day, and schedules the next ones. A digest that is late by days
 * becomes today's, or none if today's time is still to come.
 */
export function dueDigests(db: Database, now: () => Date) {
  return async (): Promise<void> => {
    await db.transaction(async (trx) => {
      const moment = now()
      const waiting = await run<[string]>(trx, WAITING, [moment])
      const due: Due[] = []
      for (const [user] of waiting) due.push(...(await run<Due>(trx, MOVE_DUE, [user, moment])))
      await post(trx, due.flatMap(mailOf), moment)
      if (due.length === BATCH) await addJob(trx, SEND_DIGESTS, {}, { key: SEND_DIGESTS })
    })
  }
}

/** `email` is null if there is no digest today, or not yet. */
type Due = [user: string, day: string, email: string | null]

/** `$1` now. */
const WAITING = {
  name: 'digests_waiting',
  text: `select user_id from digests where due_at <= $1 order by due_at limit ${BATCH}`,
}

/** `$1` user, `$2` now. `day` is the current date in the user's timezone. */
const MOVE_DUE = {
  name: 'digest_due',
  text: `
    with due as (
      select user_id from digests where user_id = $1 and due_at <= $2 for update skip locked
    ), moved as (
      update digests d set due_at = next_at(p.digest_at, p.timezone, $2)
      from due join profiles p on p.user_id = due.user_id
      where d.user_id = $1 and p.user_id = $1
      returning d.user_id, d.due_at, known_timezone(p.timezone) as zone
    ), dated as (
      select user_id, ($2::timestamptz at time zone zone)::date as day, (due_at at time zone zone)::date as next_day
      from moved
    )
    select dated.user_id, day::text, case when ${IS_REACHED} and next_day > day then u.email end
    from dated join users u on u.id = dated.user_id join profiles p on p.user_id = dated.user_id`,
}

function mailOf([user, day, email]: Due) {
  if (email === null) return []
  const cause = `digest ${user} ${day}`
  return [{ cause, user, to: email, letter: 'digest' as const, data: { day } }]
}
