import { useState } from 'preact/hooks'
import type {
  Category,
  ConflictRow,
  RejectedRow,
  Task,
  TaskDocument,
} from '../../client-sdk/index.ts'
import { CategoryDialog } from './category-dialog.tsx'
import { useClient } from './client-context.ts'
import { spokenDay } from './days.ts'
import { spokenMoment } from './moments.ts'
import { useObserved } from './observed.ts'
import { PRIORITY_NAMES, TaskDialog } from './task-dialog.tsx'

interface NoticesProps {
  tasks: readonly TaskDocument[]
  categories: readonly Category[]
}

/** Edits that the server did not take, and values that gave way to those of another device. */
export function Notices({ tasks, categories }: NoticesProps) {
  const { sync } = useClient()
  const rejected = useObserved(() => sync.rejected$, [], [sync])
  const conflicts = useObserved(() => sync.conflicts$, [], [sync])
  const [dismissed, dismiss] = useDismissed()
  const open = conflicts.filter((one) => !dismissed.includes(one.id) && linesOf(one).length > 0)
  if (rejected.length + open.length === 0) return null
  const nameOf = (one: ConflictRow) =>
    [...tasks, ...categories].find(({ id }) => id === one.document_id)
  return (
    <section aria-label="Notices" class="notices">
      {rejected.map((row) => (
        <RejectedNotice key={`${row.resource}/${row.id}`} row={row} categories={categories} />
      ))}
      {open.map((row) => (
        <ConflictNotice
          key={row.id}
          row={row}
          name={titleOf(nameOf(row) ?? { ...row.kept, ...row.lost })}
          categories={categories}
          onDismiss={() => dismiss(row.id)}
        />
      ))}
    </section>
  )
}

interface RejectedNoticeProps {
  row: RejectedRow
  categories: readonly Category[]
}

function RejectedNotice({ row, categories }: RejectedNoticeProps) {
  const [isEditing, setIsEditing] = useState(false)
  const { document, errors } = row
  const dialog = {
    errors,
    onCancel: () => setIsEditing(false),
    onSave: (corrections: Record<string, unknown>) => {
      setIsEditing(false)
      void row.retry(corrections)
    },
  }
  return (
    <article class="notice is-rejected">
      <h2>The server did not take “{shortened(titleOf(document))}”</h2>
      <ul>
        {Object.entries(errors).map(([field, messages]) => (
          <li key={field}>
            {field && <strong>{FIELDS[field] ?? field}: </strong>}
            {messages.join(' ')}
          </li>
        ))}
      </ul>
      <div class="actions">
        {row.resource !== 'profile' && (
          <button type="button" class="primary" onClick={() => setIsEditing(true)}>
            Edit and retry
          </button>
        )}
        <button type="button" onClick={() => row.discard()}>
          Discard
        </button>
      </div>
      {isEditing && row.resource === 'tasks' && (
        <TaskDialog task={document as unknown as Task} categories={categories} {...dialog} />
      )}
      {isEditing && row.resource === 'categories' && (
        <CategoryDialog category={document as unknown as Category} {...dialog} />
      )}
    </article>
  )
}

interface ConflictNoticeProps {
  row: ConflictRow
  name: string
  categories: readonly Category[]
  onDismiss: () => void
}

function ConflictNotice({ row, name, categories, onDismiss }: ConflictNoticeProps) {
  const [fault, setFault] = useState('')
  return (
    <article class="notice">
      <h2>“{shortened(name)}”</h2>
      {row.cause === 'deletion' && <p>It was deleted on one device and changed on another.</p>}
      {linesOf(row).map(([field, lost, kept]) => (
        <div key={field} class="values">
          {row.cause === 'edit' && <p>{FIELDS[field] ?? field} was changed on two devices.</p>}
          <dl>
            <dt>{row.cause === 'edit' ? 'Gave way' : (FIELDS[field] ?? field)}</dt>
            <dd>
              <del>{spokenValue(field, lost, categories)}</del>
            </dd>
            {row.cause === 'edit' && (
              <>
                <dt>Stands now</dt>
                <dd>{spokenValue(field, kept, categories)}</dd>
              </>
            )}
          </dl>
        </div>
      ))}
      {fault && (
        <p role="alert" class="fault">
          {fault}
        </p>
      )}
      <div class="actions">
        <button
          type="button"
          class="primary"
          onClick={() => {
            row.restore().catch((error: Error) => setFault(error.message))
          }}
        >
          Use my value
        </button>
        <button type="button" onClick={onDismiss}>
          Dismiss
        </button>
      </div>
    </article>
  )
}

/** What people call the fields. */
const FIELDS: Readonly<Record<string, string>> = {
  title: 'Title',
  description: 'Description',
  category_id: 'Category',
  priority: 'Priority',
  due_date: 'Due date',
  due_time: 'Due time',
  remind_at: 'Reminder',
  completed: 'Done',
  name: 'Name',
  color: 'Colour',
  display_name: 'Display name',
  bio: 'Bio',
  timezone: 'Timezone',
  locale: 'Language',
  email_notifications: 'Email notifications',
  remind_minutes_before: 'Reminder, in minutes before',
  remind_all_day_at: 'Reminder of the day',
  digest_at: 'Daily summary',
}

/** What a person can weigh: field, lost value, kept value. A place in the order is not worth a word. */
function linesOf({ lost, kept }: ConflictRow): [string, unknown, unknown][] {
  return Object.entries(lost)
    .filter(([field]) => field in FIELDS)
    .map(([field, value]) => [field, value, kept[field]])
}

function spokenValue(field: string, value: unknown, categories: readonly Category[]): string {
  if (value === null || value === undefined || value === '') return 'nothing'
  if (field === 'category_id') return categories.find(({ id }) => id === value)?.name ?? 'nothing'
  if (field === 'due_date') return spokenDay(String(value))
  if (field === 'remind_at') return spokenMoment(String(value))
  if (field === 'priority') return PRIORITY_NAMES[value as Task['priority']]
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return shortened(String(value))
}

const titleOf = (document: object) => {
  const { title, name } = document as { title?: string; name?: string }
  return title ?? name ?? 'a task'
}

const shortened = (text: string) => (text.length > 80 ? `${text.slice(0, 80)}…` : text)

const DISMISSED = 'tasktide dismissed'

/** Kept on this device alone: on another one, somebody may still want the value. */
function useDismissed(): [string[], (id: string) => void] {
  const [ids, setIds] = useState<string[]>(() =>
    JSON.parse(localStorage.getItem(DISMISSED) ?? '[]'),
  )
  return [
    ids,
    (id) => {
      const next = [...ids, id].slice(-500)
      localStorage.setItem(DISMISSED, JSON.stringify(next))
      setIds(next)
    },
  ]
}
