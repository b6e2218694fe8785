import { type Database, ofPerson } from '../database/connect.ts'
import type { TemplateDataReaders } from '../mail/delivery.ts'
import type { Due } from '../mail/templates/template.ts'
import { IS_REACHED, newSince } from './recipients.ts'
import { UNSUBSCRIBE_PATH, type Unsubscribable, type UnsubscribeTokens } from './unsubscribing.ts'

const MAX_TITLE = 200
const MAX_DESCRIPTION = 1_000
const MAX_DIGEST_TASKS = 50

interface Task {
  title: string
  date: string | null
  time: string | null
}

interface Reminder extends Task {
  description: string
  category: string | null
  email: string
  created_at: Date
}

/**
 * The template data of reminders and digests, read when they are sent. A reminder is dropped if its task
 * was completed or deleted, or its time has changed, or the user gets no mail.
 *
 * @param url the URL of the web app
 */
export function reminderMailData(
  url: string,
  tokens: Pick<UnsubscribeTokens, 'tokenFor'>,
  now: () => Date,
): Pick<TemplateDataReaders, 'reminder' | 'digest'> {
  return {
    async reminder(trx, { user_id, data }) {
      const values = [user_id, data.task!, data.due_at!]
      const { rows } = await trx
        .raw<{ rows: Reminder[] }>(REMINDER, values)
        .options(ofPerson(user_id))
      const [task] = rows
      if (!task) return undefined
      const due = dueOf(task)
      return {
        title: cut(task.title, MAX_TITLE),
        description: cut(task.description, MAX_DESCRIPTION),
        ...(due && { due }),
        ...(task.category !== null && { category: task.category }),
        isNewAccount: task.created_at > newSince(now()),
        url: `${url}/`,
        ...unsubscribeUrls(user_id, 'reminder'),
        to: task.email,
      }
    },

    async digest(trx, { user_id, data }) {
      const day = data.day!
      const reader = await readerOf(trx, user_id, now())
      // No digest for a past day.
      if (reader?.day !== day) return undefined
      const { rows } = await trx
        .raw<{ rows: (Task & { count: string })[] }>(DIGEST, [user_id, day, MAX_DIGEST_TASKS])
        .options(ofPerson(user_id))
      if (rows.length === 0) return undefined
      const items = rows.map((task) => ({ title: cut(task.title, MAX_TITLE), due: dueOf(task)! }))
      return {
        day,
        today: items.filter(({ due }) => due.date === day),
        overdue: items.filter(({ due }) => due.date < day),
        more: Number(rows[0]!.count) - rows.length,
        url: `${url}/`,
        ...unsubscribeUrls(user_id, 'digest'),
        to: reader.email,
      }
    },
  }

  function unsubscribeUrls(user: string, letter: Unsubscribable) {
    const token = tokens.tokenFor(user, letter)
    return {
      // The page asks first: mail scanners open links.
      unsubscribe_url: `${url}/#unsubscribe=${token}`,
      one_click_url: `${url}${UNSUBSCRIBE_PATH}?token=${token}`,
    }
  }
}

const REMINDER = `
  select t.title, t.description, t.due_date::text as date, left(t.due_time::text, 5) as time,
    c.name as category, u.email, u.created_at
  from reminder_moments m
    join tasks t on t.user_id = m.user_id and t.id = m.task_id
    join users u on u.id = m.user_id
    join profiles p on p.user_id = m.user_id
    left join categories c on c.user_id = t.user_id and c.id = t.category_id and not c.deleted
  where m.user_id = ? and m.task_id = ? and m.due_at = ?::timestamptz and ${IS_REACHED}`

/** The latest first: the limit cuts off the oldest. */
const DIGEST = `
  select title, due_date::text as date, left(due_time::text, 5) as time, count(*) over () as count
  from tasks
  where user_id = ? and not deleted and not completed and due_date <= ?::date
  order by due_date desc, due_time nulls last, position, id limit ?`

async function readerOf(trx: Database, user: string, now: Date) {
  const { rows } = await trx
    .raw<{ rows: { day: string; email: string }[] }>(
      `select (?::timestamptz at time zone known_timezone(p.timezone))::date::text as day, u.email
       from users u join profiles p on p.user_id = u.id
       where u.id = ? and p.digest_at is not null and ${IS_REACHED}`,
      [now, user],
    )
    .options(ofPerson(user))
  return rows[0]
}

const dueOf = ({ date, time }: Task): Due | undefined =>
  date === null ? undefined : { date, time }

/** Truncates a text at the end of a word. */
function cut(text: string, max: number): string {
  if (text.length <= max) return text
  // Do not split a surrogate pair.
  const start = text.slice(0, max).replace(/[\ud800-\udbff]$/, '')
  return `${start.replace(/\s+\S*$/, '')} …`
}
