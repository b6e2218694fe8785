import type { Category, ConflictRow, Task } from '@tasktide/client'
import { useState } from 'preact/hooks'
import { useConflicts } from '../documents/documents.ts'
import { FIELD_NAMES, shortened, titleOf } from '../documents/field-names.ts'
import { Fault } from '../forms/fault.tsx'
import { useRequest } from '../forms/request.ts'
import { PRIORITY_NAMES } from '../tasks/task-dialog.tsx'
import { formatDay } from '../time/days.ts'
import { formatMoment } from '../time/moments.ts'

interface NoticesProps {
  tasks: readonly Readonly<Task>[]
  categories: readonly Readonly<Category>[]
}

/** Values that lost to those of another device. */
export function Notices({ tasks, categories }: NoticesProps) {
  const conflicts = useConflicts()
  const [dismissed, dismiss] = useDismissed()
  const open = conflicts.filter((one) => !dismissed.includes(one.id) && linesOf(one).length > 0)
  if (open.length === 0) return null
  const nameOf = (one: ConflictRow) =>
    [...tasks, ...categories].find(({ id }) => id === one.document_id)
  return (
    <section aria-label="Notices" class="notices">
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

interface ConflictNoticeProps {
  row: ConflictRow
  name: string
  categories: readonly Readonly<Category>[]
  onDismiss: () => void
}

/** Shown on every device, so the buttons name the values instead of "mine" and "theirs". */
function ConflictNotice({ row, name, categories, onDismiss }: ConflictNoticeProps) {
  const { isBusy, fault, run } = useRequest()
  const lines = linesOf(row)
  const isDeletion = row.cause === 'deletion'
  const valuesOf = (which: 'lost' | 'kept') =>
    lines.map((line) => quoted(formatValue(line.field, line[which], categories))).join(', ')
  return (
    <article class="notice">
      <h2>“{shortened(name)}”</h2>
      {isDeletion && <p>It was deleted on one device and changed on another.</p>}
      {lines.map(({ field, lost, kept }) => (
        <div key={field} class="values">
          {!isDeletion && <p>{FIELD_NAMES[field] ?? field} was changed on two devices.</p>}
          <dl>
            <dt>{isDeletion ? (FIELD_NAMES[field] ?? field) : 'Replaced'}</dt>
            <dd>
              <del>{formatValue(field, lost, categories)}</del>
            </dd>
            {!isDeletion && (
              <>
                <dt>Current</dt>
                <dd>{formatValue(field, kept, categories)}</dd>
              </>
            )}
          </dl>
        </div>
      ))}
      <Fault text={fault} />
      <div class="actions">
        <button type="button" class="primary" disabled={isBusy} onClick={() => run(row.restore)}>
          {isDeletion ? `Restore it with ${valuesOf('lost')}` : `Use ${valuesOf('lost')}`}
        </button>
        <button type="button" onClick={onDismiss}>
          {isDeletion ? 'Keep it deleted' : `Keep ${valuesOf('kept')}`}
        </button>
      </div>
    </article>
  )
}

interface Line {
  field: string
  lost: unknown
  kept: unknown
}

/** The fields that a user can decide on. The position is left out. */
function linesOf({ lost, kept }: ConflictRow): Line[] {
  return Object.entries(lost)
    .filter(([field]) => field in FIELD_NAMES)
    .map(([field, value]) => ({ field, lost: value, kept: kept[field] }))
}

function formatValue(
  field: string,
  value: unknown,
  categories: readonly Readonly<Category>[],
): string {
  if (value === null || value === undefined || value === '') return NOTHING
  if (field === 'category_id') return categories.find(({ id }) => id === value)?.name ?? NOTHING
  if (field === 'due_date') return formatDay(String(value))
  if (field === 'remind_at') return formatMoment(String(value))
  if (field === 'priority') return PRIORITY_NAMES[value as Task['priority']]
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return shortened(String(value))
}

const quoted = (value: string) => (value === NOTHING ? value : `“${shortened(value, 40)}”`)

const NOTHING = 'nothing'

const DISMISSED = 'tasktide dismissed'

/** Stored on this device only: on another device the conflict stays visible. */
function useDismissed(): [string[], (id: string) => void] {
  const [ids, setIds] = useState<string[]>(() =>
    JSON.parse(localStorage.getItem(DISMISSED) ?? '[]'),
  )
  return [
    ids,
    (id) => {
      const next = [...ids, id].slice(-500)
      setIds(next)
      try {
        localStorage.setItem(DISMISSED, JSON.stringify(next))
      } catch {
        // The quota is used up: the conflict will be shown again.
      }
    },
  ]
}
