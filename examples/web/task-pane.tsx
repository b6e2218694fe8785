import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Category, Task, TaskDocument } from '../../client-sdk/index.ts'
import { useSyncStatus } from '../../client-sdk/react.ts'
import { CategoryDialog } from './category-dialog.tsx'
import { useClient } from './client-context.ts'
import { EmptyView } from './empty-view.tsx'
import { Icon } from './icon.tsx'
import { useObserved } from './observed.ts'
import { QuickAdd } from './quick-add.tsx'
import { TaskDialog } from './task-dialog.tsx'
import { TaskList } from './task-list.tsx'
import { Trash } from './trash.tsx'
import type { Undoable } from './undo-toast.tsx'
import { type Filter, filtered, tasksIn, type View } from './views.ts'

interface TaskPaneProps {
  view: View
  tasks: readonly TaskDocument[]
  categories: readonly Category[]
  today: string
  onDone: (done: Undoable) => void
}

const NO_FILTER: Filter = { search: '', priority: '' }
/** What leaves a view stays a moment, so that one sees what one did. */
const LINGERS_MS = 600

/** One view: adding, finding, and the list. Mounted anew for each. */
export function TaskPane({ view, tasks, categories, today, onDone }: TaskPaneProps) {
  const client = useClient()
  const [filter, setFilter] = useState(NO_FILTER)
  const [editing, setEditing] = useState<string | null>(null)
  const [added, setAdded] = useState<string | null>(null)
  const [isEditingCategory, setIsEditingCategory] = useState(false)
  const [lingering, linger] = useLingering()

  /** For its place in the list; how it looks changes at once. */
  const isDone = ({ id, completed }: Task) => lingering.get(id) ?? completed
  const isChecked = ({ id, completed }: Task) => {
    const was = lingering.get(id)
    return was === undefined ? completed : !was
  }
  const shown = useMemo(
    () => tasksIn(view, tasks, filter, isDone),
    [view, tasks, filter, lingering],
  )
  const deleted = useObserved(
    () => (view.id === 'trash' ? client.tasks.deleted().$ : NOTHING),
    [],
    [view.id],
  )
  const thrownAway = filtered(deleted, filter)
  const count = view.id === 'trash' ? thrownAway.length : shown.length
  // Before the first sync there may be tasks that are not here yet.
  const isFetched = useSyncStatus(client).last_synced_at !== null
  const isFiltered = filter.search.trim() !== '' || filter.priority !== ''
  const edited = tasks.find(({ id }) => id === editing)
  const categoriesById = useMemo(
    // In the view of a category, its name goes without saying.
    () => new Map(view.category ? [] : categories.map((one) => [one.id, one])),
    [categories, view.category],
  )

  async function add(title: string) {
    const { id } = await client.tasks.add({ title, ...view.added })
    setFilter(NO_FILTER)
    setAdded(id)
  }

  async function toggle({ id, title, completed }: TaskDocument) {
    linger(id, completed)
    await client.tasks.complete(id, !completed)
    const undo = () => client.tasks.complete(id, false)
    if (!completed) onDone({ text: `Done: ${title}`, undo })
  }

  async function remove({ id, title }: TaskDocument) {
    await client.tasks.softDelete(id)
    onDone({ text: `Deleted: ${title}`, undo: () => client.tasks.restore(id) })
  }

  async function removeCategory({ id }: Category) {
    setIsEditingCategory(false)
    location.assign('#all')
    const document = await client.categories.findOne(id).exec()
    await document?.incrementalRemove()
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
            onClick={() => setIsEditingCategory(true)}
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
          onEdit={({ id }) => setEditing(id)}
          onDelete={remove}
        />
      )}
      {count === 0 && isFetched && (
        <EmptyView
          text={isFiltered ? ['Nothing found', 'Other words, or another view?'] : view.empty}
        />
      )}
      {edited && (
        <TaskDialog
          key={edited.id}
          task={edited}
          categories={categories}
          onCancel={() => setEditing(null)}
          onSave={async (changed) => {
            setEditing(null)
            if (Object.keys(changed).length > 0) await edited.incrementalPatch(changed)
          }}
        />
      )}
      {isEditingCategory && view.category && (
        <CategoryDialog
          category={view.category}
          onCancel={() => setIsEditingCategory(false)}
          onDelete={() => removeCategory(view.category!)}
          onSave={async (given) => {
            setIsEditingCategory(false)
            const document = await client.categories.findOne(view.category!.id).exec()
            await document?.incrementalPatch(given)
          }}
        />
      )}
    </>
  )
}

const NOTHING = {
  subscribe: () => ({ unsubscribe() {} }),
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

/** The tasks that were just completed, or not any more, with what they were before. */
function useLingering(): [ReadonlyMap<string, boolean>, (id: string, was: boolean) => void] {
  const [lingering, setLingering] = useState<ReadonlyMap<string, boolean>>(new Map())
  const timers = useRef(new Set<ReturnType<typeof setTimeout>>())
  useEffect(() => () => timers.current.forEach(clearTimeout), [])
  return [
    lingering,
    (id, was) => {
      setLingering((current) => new Map(current).set(id, was))
      const timer = setTimeout(() => {
        timers.current.delete(timer)
        setLingering((current) => new Map([...current].filter(([one]) => one !== id)))
      }, LINGERS_MS)
      timers.current.add(timer)
    },
  ]
}
