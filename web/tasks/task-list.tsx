import type { Category, Task } from '@tasktide/client'
import { useEffect, useRef, useState } from 'preact/hooks'
import { useEdits } from '../documents/edits.tsx'
import { placeDuring, useReorder } from '../lists/reorder.ts'
import { Rows, reveal } from '../lists/rows.tsx'
import { TaskRow } from './task-row.tsx'

interface TaskListProps {
  tasks: readonly Readonly<Task>[]
  /** The categories to show, by id. */
  categories: ReadonlyMap<string, Category>
  today: string
  isOwnOrder: boolean
  /** The number of open tasks, which come first. */
  open: number
  /** A task to scroll to. */
  added: string | null
  isChecked: (task: Readonly<Task>) => boolean
  onToggle: (task: Readonly<Task>) => void
  onEdit: (task: Readonly<Task>) => void
  onDelete: (task: Readonly<Task>) => void
}

export function TaskList(props: TaskListProps) {
  const { tasks, categories, today, isOwnOrder, open, added } = props
  const edits = useEdits()
  const list = useRef<HTMLUListElement>(null)
  const [said, setSaid] = useState('')
  const ids = tasks.map(({ id }) => id)
  const { drag, pick } = useReorder(list, ids, move)
  const from = drag ? ids.indexOf(drag.id) : -1

  const isAddedHere = added !== null && ids.includes(added)
  useEffect(() => {
    if (isAddedHere) reveal(list.current!, ids.indexOf(added))
  }, [added, isAddedHere])

  /** Open and completed tasks are ordered separately. */
  const rangeOf = (index: number) =>
    index < open ? ([0, open - 1] as const) : ([open, ids.length - 1] as const)

  async function move(id: string, to: number) {
    const neighbour = ids[to]!
    const isDown = to > ids.indexOf(id)
    return edits.moveTask(id, isDown ? { after: neighbour } : { before: neighbour })
  }

  async function step(task: Readonly<Task>, by: 1 | -1) {
    const index = ids.indexOf(task.id)
    const [first, last] = rangeOf(index)
    const to = index + by
    if (to < first || to > last) return
    if (!(await move(task.id, to))) return
    setSaid(`${task.title}: ${to + 1} of ${ids.length}`)
  }

  return (
    <>
      <Rows
        label="Tasks"
        list={list}
        items={tasks}
        held={drag?.id}
        row={(task, index) => (
          <TaskRow
            key={task.id}
            task={task}
            index={index}
            count={ids.length}
            at={placeDuring(drag, from, index)}
            category={categories.get(task.category_id ?? '')}
            today={today}
            isChecked={props.isChecked(task)}
            isMovable={isOwnOrder}
            isDragged={index === from && !drag?.isDropped}
            isAdded={task.id === added}
            onGrab={(event) => pick(event, task.id, rangeOf(index))}
            onStep={(by) => void step(task, by)}
            onToggle={() => props.onToggle(task)}
            onEdit={() => props.onEdit(task)}
            onDelete={() => props.onDelete(task)}
          />
        )}
      />
      <p class="unseen" aria-live="polite">
        {said}
      </p>
    </>
  )
}
