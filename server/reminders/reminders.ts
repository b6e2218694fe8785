import type { Database } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { keptSince } from '../mail/delivery.ts'
import { post } from '../mail/outbox.ts'
import { IS_REACHED } from './recipients.ts'

export const SEND_REMINDERS = 'send_reminders'

/** Rows per transaction. */
export const BATCH = 500

/** The limit per user and hour. Mail servers have a limit for all users together. */
export const MAX_AN_HOUR = 60
const HOUR_MS = 60 * 60 * 1000

interface Due {
  user_id: string
  task_id: string
  due_at: Date
  /** The address; null if no mail is sent. */
  email: string | null
}

/**
 * Queues a mail for each due reminder, once: the reminder is deleted in the transaction that queues its
 * mail. Several workers can run it at the same time. It takes the first reminder of every user before
 * the second of any user. Reminders over the hourly limit wait.
 */
export function dueReminders(db: Database, now: () => Date) {
  return async (): Promise<void> => {
    await db.transaction(async (trx) => {
      const moment = now()
      const { rows } = await trx.raw<{ rows: Due[] }>(TAKE_DUE, {
        now: moment,
        batch: BATCH,
        hourly: MAX_AN_HOUR,
        hour_ago: new Date(moment.getTime() - HOUR_MS),
        // Older ones may have been sent already: that record is deleted.
        kept_since: keptSince(moment),
      })
      await post(trx, rows.flatMap(mailOf), moment)
      if (rows.length === BATCH) await addJob(trx, SEND_REMINDERS, {}, { key: SEND_REMINDERS })
    })
  }
}

const TAKE_DUE = `
  with people as (
    select waiting.user_id, case when ${IS_REACHED} then :hourly - (
      select count(*) from mails m
      where m.user_id = waiting.user_id and m.letter = 'reminder' and m.created_at > :hour_ago
    ) else :batch end as room
    from (select distinct user_id from reminders where due_at <= :now) waiting
    left join users u on u.id = waiting.user_id
    left join profiles p on p.user_id = waiting.user_id
  ), chosen as (
    select first.user_id, first.task_id
    from people cross join lateral (
      -- Compared as pairs, so that the plan does not read other users' reminders for each user.
      select user_id, task_id, due_at, row_number() over (order by user_id, due_at) as nth
      from reminders r
      where (r.user_id, r.due_at) > (people.user_id, '-infinity') and (r.user_id, r.due_at) <= (people.user_id, :now)
      order by user_id, due_at limit greatest(people.room, 0)
    ) first
    order by first.nth, first.due_at limit :batch
  ), due as (
    select r.user_id, r.task_id from chosen join reminders r using (user_id, task_id)
    where r.due_at <= :now for update of r skip locked
  ), taken as (
    delete from reminders r using due where r.user_id = due.user_id and r.task_id = due.task_id
    returning r.*
  )
  select taken.*, case when ${IS_REACHED} and due_at > :kept_since then u.email end as email
  from taken left join users u on u.id = user_id left join profiles p on p.user_id = taken.user_id`

/**
 * The age in seconds of the oldest reminder or digest that is due, by the database's clock; 0 if none
 * is. Reminders that wait because of the hourly limit of their user do not count.
 */
export async function oldestDue(db: Database): Promise<number> {
  const { rows } = await db.raw<{ rows: { seconds: number }[] }>(OLDEST_DUE, [MAX_AN_HOUR])
  return rows[0]!.seconds
}

const OLDEST_DUE = `
  with waiting as (
    select user_id, min(due_at) as due_at from reminders where due_at <= now() group by user_id
  )
  select coalesce(extract(epoch from now() - min(due_at)), 0)::float as seconds from (
    select due_at from waiting where ? > (
      select count(*) from mails m
      where m.user_id = waiting.user_id and m.letter = 'reminder' and m.created_at > now() - interval '1 hour')
    union all
    (select due_at from digests where due_at <= now() order by due_at limit 1)
  ) due`

function mailOf({ user_id, task_id, due_at, email }: Due) {
  if (email === null) return []
  const at = due_at.toISOString()
  return [
    {
      cause: `reminder ${user_id} ${task_id} ${at}`,
      user: user_id,
      to: email,
      letter: 'reminder' as const,
      data: { task: task_id, due_at: at },
    },
  ]
}
