import { type Category, foldText, searchTerms, type Task } from '@tasktide/client'
import { useEffect, useState } from 'preact/hooks'

export type ViewId = 'all' | 'today' | 'overdue' | 'done' | 'trash' | `category/${string}`

export interface View {
  id: ViewId
  name: string
  category?: Category
  /** Whether the view contains the task. */
  holds(task: Task, isDone: boolean): boolean
  /** Fields of a task added in this view; null if the view would not show it. */
  added: Partial<Task> | null
  /** Whether tasks are in the user's own order. */
  isOwnOrder: boolean
  empty: readonly [string, string]
}

/** All views for this date. */
export function viewsOf(categories: readonly Category[], today: string): View[] {
  return [
    {
      id: 'all',
      name: 'All',
      holds: () => true,
      added: {},
      isOwnOrder: true,
      empty: ['No tasks yet', 'Type a task and press Enter.'],
    },
    {
      id: 'today',
      name: 'Today',
      holds: ({ due_date }, isDone) => !isDone && due_date === today,
      added: { due_date: today },
      isOwnOrder: true,
      empty: ['Nothing is due today', 'Tasks that you add here are due today.'],
    },
    {
      id: 'overdue',
      name: 'Overdue',
      holds: ({ due_date }, isDone) => !isDone && due_date !== null && due_date < today,
      added: null,
      isOwnOrder: false,
      empty: ['Nothing is overdue', 'You are up to date.'],
    },
    {
      id: 'done',
      name: 'Done',
      holds: (_, isDone) => isDone,
      added: null,
      isOwnOrder: false,
      empty: ['Nothing is done yet', 'Completed tasks appear here.'],
    },
    {
      id: 'trash',
      name: 'Trash',
      holds: () => false,
      added: null,
      isOwnOrder: false,
      empty: ['The trash is empty', 'You can restore deleted tasks here.'],
    },
    ...categories.map(
      (category): View => ({
        id: `category/${category.id}`,
        name: category.name,
        category,
        holds: ({ category_id }) => category_id === category.id,
        added: { category_id: category.id },
        isOwnOrder: true,
        empty: ['Nothing here yet', `Tasks that you add here belong to ${category.name}.`],
      }),
    ),
  ]
}

export interface Filter {
  search: string
  priority: Task['priority'] | ''
}

/** The tasks of a view, sorted. In the user's own order, completed tasks come last. */
export function tasksIn(
  view: View,
  tasks: readonly Readonly<Task>[],
  filter: Filter,
  isDone: (task: Task) => boolean,
): Readonly<Task>[] {
  const found = filtered(tasks, filter).filter((task) => view.holds(task, isDone(task)))
  if (view.id === 'done') return found.sort(by(({ completed_at }) => completed_at ?? '')).reverse()
  if (view.id === 'overdue') return found.sort(by((task) => task.due_date! + (task.due_time ?? '')))
  return [...found.filter((task) => !isDone(task)), ...found.filter(isDone)]
}

export function filtered<T extends Task>(
  tasks: readonly T[],
  { search, priority }: Filter,
): readonly T[] {
  const terms = searchTerms(search)
  if (terms.length === 0 && priority === '') return tasks
  return tasks.filter(
    (task) => (priority === '' || task.priority === priority) && hasAll(task, terms),
  )
}

/** The view is in the URL, so it survives a reload and the back button works. */
export function useViewId(): [ViewId | 'account', (id: ViewId) => void] {
  const [id, setId] = useState(readAddress)
  useEffect(() => {
    const read = () => setId(readAddress())
    addEventListener('hashchange', read)
    return () => removeEventListener('hashchange', read)
  }, [])
  return [id, (next) => location.assign(`#${next}`)]
}

const readAddress = () => (location.hash.slice(1) || 'all') as ViewId | 'account'

const by = (key: (task: Task) => string) => (a: Task, b: Task) => {
  const [first, second] = [key(a), key(b)]
  return first < second ? -1 : first > second ? 1 : 0
}

/** Cached by object: every change of a task creates a new object. */
const texts = new WeakMap<Task, readonly string[]>()

/** As the server searches. */
function hasAll(task: Task, terms: readonly string[]): boolean {
  let known = texts.get(task)
  if (known === undefined) {
    known = [foldText(task.title), foldText(task.description)]
    texts.set(task, known)
  }
  return terms.every((term) => known.some((text) => text.includes(term)))
}
