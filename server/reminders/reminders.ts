import { type Database, run } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { keptSince } from '../mail/delivery.ts'
import { post } from '../mail/outbox.ts'
import { IS_REACHED, newSince } from './recipients.ts'

export const SEND_REMINDERS = 'send_reminders'

/** Rows per transaction. */
export const BATCH = 500

/** The limit per user and hour. Mail servers have a limit for all users together. */
export const MAX_AN_HOUR = 60
/** The same on the first day of an account: nobody is to make accounts in order to send mail with them. */
const MAX_AN_HOUR_WHEN_NEW = 5
const HOUR_MS = 60 * 60 * 1000

interface Due {
  user: string
  task: string
  at: Date
  /** The address; null if no mail is sent. */
  email: string | null
  /** Its place among those of the same user. */
  nth: number
}

/**
 * Queues a mail for each due reminder, once: the reminder is deleted in the transaction that queues its
 * mail. Several workers can run it at the same time. It takes as many from each user, and the first of
 * every user goes before the second of any. Reminders over the hourly limit wait.
 */
export function dueReminders(db: Database, now: () => Date) {
  return async (): Promise<void> => {
    await db.transaction(async (trx) => {
      const moment = now()
      const hourAgo = new Date(moment.getTime() - HOUR_MS)
      const waiting = await run<[string]>(trx, WAITING, [moment, hourAgo, newSince(moment)])
      const share = Math.max(1, Math.floor(BATCH / waiting.length))
      // Older ones may have been sent already: that record is deleted.
      const values = [moment, hourAgo, share, keptSince(moment), newSince(moment)]
      const taken: Due[] = []
      let isMore = false
      for (const [user] of waiting) {
        const rows = await run<[string, Date, string | null]>(trx, TAKE_DUE, [user, ...values])
        taken.push(...rows.map(([task, at, email], nth) => ({ user, task, at, email, nth })))
        isMore ||= rows.length === share
      }
      taken.sort((one, two) => one.nth - two.nth || one.at.getTime() - two.at.getTime())
      await post(trx, taken.flatMap(mailOf), moment)
      if (isMore) await addJob(trx, SEND_REMINDERS, {}, { key: SEND_REMINDERS })
    })
  }
}

/** The limit of a user (`users u`). */
const limitOf = (since: string) =>
  `case when u.created_at > ${since} then ${MAX_AN_HOUR_WHEN_NEW} else ${MAX_AN_HOUR} end`

/** `$1` now, `$2` an hour ago, `$3` since when accounts are new. Users with due reminders, except those over their limit. */
const WAITING = {
  name: 'reminders_waiting',
  text: `
    select user_id from (
      select user_id, min(due_at) as due_at from reminders where due_at <= $1 group by user_id
    ) waiting join users u on u.id = waiting.user_id
    where ${limitOf('$3')} > (
      select count(*) from mails m
      where m.user_id = waiting.user_id and m.letter = 'reminder' and m.created_at > $2)
    order by due_at limit ${BATCH}`,
}

/** `$1` user, `$2` now, `$3` an hour ago, `$4` how many at most, `$5` none from before this, `$6` since when accounts are new. */
const TAKE_DUE = {
  name: 'reminders_due',
  text: `
    with recipient as (
      select u.email, ${IS_REACHED} as is_reached, case when ${IS_REACHED} then ${limitOf('$6')} - (
        select count(*) from mails m
        where m.user_id = $1 and m.letter = 'reminder' and m.created_at > $3
      ) else $4 end as room
      from users u join profiles p on p.user_id = u.id where u.id = $1
    ), first as (
      select task_id from reminders where user_id = $1 and due_at <= $2
      order by due_at limit (select greatest(least(room, $4), 0) from recipient)
    ), due as (
      select r.task_id from first join reminders r on r.user_id = $1 and r.task_id = first.task_id
      where r.due_at <= $2 for update of r skip locked
    ), taken as (
      delete from reminders r using due where r.user_id = $1 and r.task_id = due.task_id
      returning r.task_id, r.due_at
    )
    select task_id, due_at, case when is_reached and due_at > $5 then email end
    from taken, recipient order by due_at`,
}

/**
 * The age in seconds of the oldest reminder or digest that is due, by the database's clock; 0 if none
 * is. Reminders that wait because of the hourly limit of their user do not count.
 */
export async function oldestDue(db: Database): Promise<number> {
  const { rows } = await db.raw<{ rows: { seconds: number }[] }>(OLDEST_DUE)
  return rows[0]!.seconds
}

const OLDEST_DUE = `
  with waiting as (
    select user_id, min(due_at) as due_at from reminders where due_at <= now() group by user_id
  )
  select coalesce(extract(epoch from now() - min(due_at)), 0)::float as seconds from (
    select due_at from waiting join users u on u.id = waiting.user_id
    where ${limitOf("now() - interval '1 day'")} > (
      select count(*) from mails m
      where m.user_id = waiting.user_id and m.letter = 'reminder' and m.created_at > now() - interval '1 hour')
    union all
    (select due_at from digests where due_at <= now() order by due_at limit 1)
  ) due`

function mailOf({ user, task, at, email }: Due) {
  if (email === null) return []
  const due_at = at.toISOString()
  return [
    {
      cause: `reminder ${user} ${task} ${due_at}`,
      user,
      to: email,
      letter: 'reminder' as const,
      data: { task, due_at },
    },
  ]
}
