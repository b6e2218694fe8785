import type { Category, Task } from '@tasktide/client'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { NONE, useDeletedTasks, useSyncState } from '../documents/documents.ts'
import type { Editing } from '../documents/editor.tsx'
import { useEdits } from '../documents/edits.tsx'
import { Icon } from '../frame/icon.tsx'
import { EmptyView } from './empty-view.tsx'
import { QuickAdd } from './quick-add.tsx'
import { TaskList } from './task-list.tsx'
import { Trash } from './trash.tsx'
import type { Undoable } from './undo-toast.tsx'
import { type Filter, filtered, tasksIn, type View } from './views.ts'

interface TaskPaneProps {
  view: View
  tasks: readonly Readonly<Task>[]
  /** False until the tasks of this device are read. */
  isRead: boolean
  categories: readonly Category[]
  today: string
  onDone: (done: Undoable) => void
  onEdit: (editing: Editing) => void
}

const NO_FILTER: Filter = { search: '', priority: '' }
/** A completed task stays in its view for a moment, as feedback. */
const LINGERS_MS = 600

/** A view: quick add, search and the list. Remounted for each view. */
export function TaskPane(props: TaskPaneProps) {
  const { view, tasks, isRead, categories, today, onDone, onEdit } = props
  const edits = useEdits()
  const [filter, setFilter] = useState(NO_FILTER)
  const [added, setAdded] = useState<string | null>(null)
  const [lingering, linger, unlinger] = useLingering()

  /** The state for the position in the list; the checkbox changes at once. */
  const isDone = ({ id, completed }: Task) => lingering.get(id) ?? completed
  const isChecked = ({ id, completed }: Task) => {
    const was = lingering.get(id)
    return was === undefined ? completed : !was
  }
  const shown = useMemo(
    () => tasksIn(view, tasks, filter, isDone),
    [view, tasks, filter, lingering],
  )
  const deleted = useDeletedTasks(view.id === 'trash')
  const thrownAway = filtered(deleted ?? NONE, filter)
  const count = view.id === 'trash' ? thrownAway.length : shown.length
  // Before the first sync, tasks may still be missing.
  const isFetched = useSyncState().last_synced_at !== null && isRead && deleted !== undefined
  const isFiltered = filter.search.trim() !== '' || filter.priority !== ''
  const categoriesById = useMemo(
    // The view of a category does not repeat its name.
    () => new Map(view.category ? [] : categories.map((one) => [one.id, one])),
    [categories, view.category],
  )

  async function add(title: string) {
    const id = await edits.addTask({ title, ...view.added })
    if (!id) return false
    setFilter(NO_FILTER)
    setAdded(id)
    return true
  }

  async function toggle({ id, title, completed }: Readonly<Task>) {
    linger(id, completed)
    if (!(await edits.completeTask(id, !completed))) return unlinger(id)
    const undo = () => edits.completeTask(id, false)
    if (!completed) onDone({ text: `Done: ${title}`, action: 'Undo', run: undo })
  }

  async function remove({ id, title }: Readonly<Task>) {
    if (!(await edits.deleteTask(id))) return
    onDone({ text: `Deleted: ${title}`, action: 'Undo', run: () => edits.restoreTask(id) })
  }

  return (
    <>
      <header class="view-header">
        <h1>
          {view.category && <span class="dot" style={{ '--colour': view.category.color }} />}
          <span class="name">{view.name}</span>
          <span class="count" data-testid="task-count">
            {count}
          </span>
        </h1>
        {view.category && (
          <button
            type="button"
            class="quiet"
            aria-label="Edit category"
            title="Edit category"
            onClick={() => onEdit({ kind: 'category', category: view.category! })}
          >
            <Icon name="pencil" />
          </button>
        )}
        <search class="finding">
          <SearchBox value={filter.search} onInput={(search) => setFilter({ ...filter, search })} />
          <select
            aria-label="Filter priority"
            value={filter.priority}
            onChange={(event) => {
              const priority = event.currentTarget.value as Filter['priority']
              setFilter({ ...filter, priority })
            }}
          >
            <option value="">Any priority</option>
            <option value="high">High</option>
            <option value="medium">Medium</option>
            <option value="low">Low</option>
          </select>
        </search>
      </header>
      {view.added && (
        <QuickAdd hint={view.id === 'today' ? 'Add a task for today' : 'Add a task'} onAdd={add} />
      )}
      {view.id === 'trash' ? (
        <Trash tasks={thrownAway} />
      ) : (
        <TaskList
          tasks={shown}
          categories={categoriesById}
          today={today}
          isOwnOrder={view.isOwnOrder}
          open={shown.filter((task) => !isDone(task)).length}
          added={added}
          isChecked={isChecked}
          onToggle={toggle}
          onEdit={(task) => onEdit({ kind: 'task', task })}
          onDelete={remove}
        />
      )}
      {count === 0 && isFetched && (
        <EmptyView
          text={isFiltered ? ['Nothing found', 'Try other words or another view.'] : view.empty}
        />
      )}
    </>
  )
}

interface SearchBoxProps {
  value: string
  onInput: (value: string) => void
}

function SearchBox({ value, onInput }: SearchBoxProps) {
  return (
    <div class="search-box">
      <Icon name="search" />
      <input
        type="search"
        id="search"
        aria-label="Search tasks"
        aria-keyshortcuts="/"
        placeholder="Search"
        autocomplete="off"
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </div>
  )
}

/** Tasks that were just completed or reopened, with their previous state. */
function useLingering(): [
  ReadonlyMap<string, boolean>,
  (id: string, was: boolean) => void,
  (id: string) => void,
] {
  const [lingering, setLingering] = useState<ReadonlyMap<string, boolean>>(new Map())
  const timers = useRef(new Set<ReturnType<typeof setTimeout>>())
  useEffect(() => () => timers.current.forEach(clearTimeout), [])
  const unlinger = (id: string) =>
    setLingering((current) => new Map([...current].filter(([one]) => one !== id)))
  return [
    lingering,
    (id, was) => {
      setLingering((current) => new Map(current).set(id, was))
      const timer = setTimeout(() => {
        timers.current.delete(timer)
        unlinger(id)
      }, LINGERS_MS)
      timers.current.add(timer)
    },
    unlinger,
  ]
}
