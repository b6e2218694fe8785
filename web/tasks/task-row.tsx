import type { Category, Task } from '@tasktide/client'
import { useId } from 'preact/hooks'
import { Grip, Icon } from '../frame/icon.tsx'
import { placeOf } from '../lists/rows.tsx'
import { formatDay } from '../time/days.ts'
import { formatMoment } from '../time/moments.ts'

interface TaskRowProps {
  task: Readonly<Task>
  index: number
  count: number
  /** The position in rows from the top; fractional while dragging. */
  at: number
  category: Category | undefined
  today: string
  isChecked: boolean
  isMovable: boolean
  isDragged: boolean
  isAdded: boolean
  onGrab: (event: PointerEvent) => void
  onStep: (by: 1 | -1) => void
  onToggle: () => void
  onEdit: () => void
  onDelete: () => void
}

export function TaskRow(props: TaskRowProps) {
  const { task, category, today, isChecked, isMovable } = props
  const { title } = task
  const id = useId()
  const states = [
    'row',
    isChecked && 'is-done',
    props.isDragged && 'is-dragged',
    props.isAdded && 'is-added',
  ]
  return (
    <li
      class={states.filter(Boolean).join(' ')}
      data-id={task.id}
      aria-label={title}
      {...placeOf(props.index, props.count)}
      style={{ '--at': props.at, '--colour': category?.color ?? '' }}
    >
      {isMovable && (
        <button
          type="button"
          class="handle"
          data-control="handle"
          aria-label={`Move ${title}`}
          title="Drag, or press ↑ or ↓"
          onPointerDown={props.onGrab}
          onKeyDown={(event) => {
            if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return
            event.preventDefault()
            props.onStep(event.key === 'ArrowUp' ? -1 : 1)
          }}
        >
          <Grip />
        </button>
      )}
      <label class="check">
        <input
          type="checkbox"
          data-control="check"
          aria-label={`Done: ${title}`}
          checked={isChecked}
          onChange={props.onToggle}
        />
      </label>
      <div class="what">
        <button
          type="button"
          class="open"
          data-control="open"
          aria-label={`Edit ${title}`}
          aria-describedby={id}
          onClick={props.onEdit}
        >
          {title}
        </button>
        <span class="about" id={id}>
          <About task={task} category={category} today={today} />
        </span>
      </div>
      <button
        type="button"
        class="quiet delete"
        data-control="delete"
        aria-label={`Delete ${title}`}
        title="Delete"
        onClick={props.onDelete}
      >
        <Icon name="trash" />
      </button>
    </li>
  )
}

function About({ task, category, today }: Pick<TaskRowProps, 'task' | 'category' | 'today'>) {
  const { due_date, due_time, remind_at, priority, description, completed } = task
  const isOverdue = !completed && due_date !== null && due_date < today
  return (
    <>
      {due_date && (
        <span class={isOverdue ? 'due is-overdue' : due_date === today ? 'due is-today' : 'due'}>
          {formatDay(due_date)}
          {due_time && `, ${due_time}`}
        </span>
      )}
      {remind_at && !completed && (
        <span class="reminder" title={`Reminder: ${formatMoment(remind_at)}`}>
          <Icon name="bell" />
          <span class="unseen">Reminder: {formatMoment(remind_at)}</span>
        </span>
      )}
      {priority !== 'medium' && (
        <span class={`priority is-${priority}`}>
          <Icon name="flag" />
          {priority === 'high' ? 'High' : 'Low'}
        </span>
      )}
      {category && (
        <span class="category">
          <span class="dot" />
          <span class="name">{category.name}</span>
        </span>
      )}
      {description !== '' && <span class="description">{description}</span>}
    </>
  )
}
