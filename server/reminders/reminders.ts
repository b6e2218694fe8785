import type { Database } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { KEPT_DAYS } from '../mail/delivery.ts'
import { post } from '../mail/outbox.ts'
import { BATCH, IS_REACHED } from './recipients.ts'

export const SEND_REMINDERS = 'send_reminders'

interface Due {
  user_id: string
  task_id: string
  due_at: Date
  /** Where it goes to; null when nobody is to be told. */
  email: string | null
}

/**
 * Turns reminders whose time has come into mails, each once: it ceases to wait in the transaction
 * that posts its mail. Any number of workers may do so at a time.
 */
export function dueReminders(db: Database, now: () => Date) {
  return async (): Promise<void> => {
    await db.transaction(async (trx) => {
      const moment = now()
      const { rows } = await trx.raw<{ rows: Due[] }>(TAKE_DUE, [moment, BATCH, oldest(moment)])
      await post(trx, rows.flatMap(mailOf), moment)
      if (rows.length === BATCH) await addJob(trx, SEND_REMINDERS, {}, { key: SEND_REMINDERS })
    })
  }
}

const TAKE_DUE = `
  with due as (
    select user_id, task_id from reminders where due_at <= ?
    order by due_at limit ? for update skip locked
  ), taken as (
    delete from reminders r using due where r.user_id = due.user_id and r.task_id = due.task_id
    returning r.*
  )
  select taken.*, case when ${IS_REACHED} and due_at > ? then u.email end as email
  from taken left join users u on u.id = user_id left join profiles p on p.user_id = taken.user_id`

/** What is later than this may have been sent before: nobody knows any more. */
const oldest = (now: Date) => new Date(now.getTime() - KEPT_DAYS * 24 * 60 * 60 * 1000)

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
