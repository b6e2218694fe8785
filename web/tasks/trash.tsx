import type { Task } from '@tasktide/client'
import { useRef } from 'preact/hooks'
import { useEdits } from '../documents/edits.tsx'
import { Icon } from '../frame/icon.tsx'
import { placeOf, Rows } from '../lists/rows.tsx'

/** Deleted tasks, which can be brought back. */
export function Trash({ tasks }: { tasks: readonly Readonly<Task>[] }) {
  const edits = useEdits()
  const list = useRef<HTMLUListElement>(null)
  return (
    <Rows
      label="Tasks"
      list={list}
      items={tasks}
      row={({ id, title }, index) => (
        <li
          key={id}
          class="row"
          data-id={id}
          aria-label={title}
          {...placeOf(index, tasks.length)}
          style={{ '--at': index }}
        >
          <span class="what is-plain">
            <span class="open">{title}</span>
          </span>
          <button
            type="button"
            class="restore"
            data-control="restore"
            aria-label={`Restore ${title}`}
            onClick={() => void edits.restoreTask(id)}
          >
            <Icon name="restore" />
            Restore
          </button>
        </li>
      )}
    />
  )
}
