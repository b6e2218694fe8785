import type { Task } from '@tasktide/client'
import { useContext, useRef, useState } from 'preact/hooks'
import { draftKeyOf } from '../documents/editor.tsx'
import { useEdits } from '../documents/edits.tsx'
import { DraftsContext } from '../drafts/drafts.ts'
import { Icon } from '../frame/icon.tsx'
import { placeOf, Rows } from '../lists/rows.tsx'
import { ForGoodDialog } from './for-good.tsx'

/** Deleted tasks, which can be brought back, or deleted for good. */
export function Trash({ tasks }: { tasks: readonly Readonly<Task>[] }) {
  const edits = useEdits()
  const drafts = useContext(DraftsContext)
  const list = useRef<HTMLUListElement>(null)
  const [leaving, setLeaving] = useState<Readonly<Task>>()

  async function deleteForGood(task: Readonly<Task>) {
    if (!(await edits.deleteTaskForGood(task.id))) return
    drafts.remove(draftKeyOf({ kind: 'task', task }))
    setLeaving(undefined)
  }

  return (
    <>
      <Rows
        label="Tasks"
        list={list}
        items={tasks}
        row={(task, index) => (
          <li
            key={task.id}
            class="row"
            data-id={task.id}
            aria-label={task.title}
            {...placeOf(index, tasks.length)}
            style={{ '--at': index }}
          >
            <span class="what is-plain">
              <span class="open">{task.title}</span>
            </span>
            <button
              type="button"
              class="restore"
              data-control="restore"
              aria-label={`Restore ${task.title}`}
              onClick={() => void edits.restoreTask(task.id)}
            >
              <Icon name="restore" />
              Restore
            </button>
            <button
              type="button"
              class="quiet delete"
              data-control="delete"
              aria-label={`Delete ${task.title} for good`}
              title="Delete for good"
              onClick={() => setLeaving(task)}
            >
              <Icon name="trash" />
            </button>
          </li>
        )}
      />
      {leaving && (
        <ForGoodDialog
          task={leaving}
          onCancel={() => setLeaving(undefined)}
          onDelete={() => void deleteForGood(leaving)}
        />
      )}
    </>
  )
}
