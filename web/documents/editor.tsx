import type { Category, Task } from '@tasktide/client'
import { CategoryDialog, type EditedCategory } from '../categories/category-dialog.tsx'
import type { Draft } from '../drafts/drafts.ts'
import { type EditedTask, TaskDialog } from '../tasks/task-dialog.tsx'
import { type Edits, useEdits } from './edits.tsx'

/** The document in the dialog, as it was when the dialog was opened. */
export type Editing =
  | { kind: 'task'; task: EditedTask }
  | { kind: 'category'; category: EditedCategory | null }

interface EditorProps {
  editing: Editing
  tasks: readonly Readonly<Task>[]
  categories: readonly Readonly<Category>[]
  onAdded: (category: string) => void
  onDeleted: (category: string) => void
  onClose: () => void
}

/** The dialog of a task or a category. It stays open when another device changes or deletes it. */
export function Editor({ editing, tasks, categories, onAdded, onDeleted, onClose }: EditorProps) {
  const edits = useEdits()
  const draftKey = draftKeyOf(editing)
  if (editing.kind === 'task') {
    const { task } = editing
    const isDeleted = tasks.every(({ id }) => id !== task.id)
    return (
      <TaskDialog
        key={draftKey}
        task={task}
        categories={categories}
        draftKey={draftKey}
        isDeleted={isDeleted}
        onClose={onClose}
        onSave={async (changed) => {
          if (isDeleted) return edits.restoreTask(task.id, changed)
          return isNothing(changed) || edits.changeTask(task.id, changed)
        }}
      />
    )
  }
  const { category } = editing
  if (!category)
    return (
      <CategoryDialog
        key={draftKey}
        category={null}
        draftKey={draftKey}
        onClose={onClose}
        onSave={async (_, given) => {
          const id = await edits.addCategory(given)
          if (id) onAdded(id)
          return id !== null
        }}
      />
    )
  const isDeleted = categories.every(({ id }) => id !== category.id)
  return (
    <CategoryDialog
      key={draftKey}
      category={category}
      draftKey={draftKey}
      isDeleted={isDeleted}
      onClose={onClose}
      onDelete={() => removeCategory(edits, category.id, onDeleted)}
      onSave={async (changed, given) => {
        if (isDeleted) return edits.restoreCategory(category, given)
        return isNothing(changed) || edits.changeCategory(category.id, changed)
      }}
    />
  )
}

async function removeCategory(edits: Edits, id: string, onDeleted: (id: string) => void) {
  const isKept = await edits.deleteCategory(id)
  if (isKept) onDeleted(id)
  return isKept
}

/** The key of a form's draft. */
export function draftKeyOf(editing: Editing): string {
  return editing.kind === 'task'
    ? `tasks/${editing.task.id}`
    : `categories/${editing.category?.id ?? 'new'}`
}

/** What to open for a draft; undefined for a draft of another form. */
export function editingOf(
  { key, base }: Draft,
  tasks: readonly Readonly<Task>[],
  categories: readonly Readonly<Category>[],
): Editing | undefined {
  const [resource, id] = key.split('/')
  if (resource === 'tasks')
    return { kind: 'task', task: tasks.find((one) => one.id === id) ?? (base as EditedTask) }
  if (resource === 'categories') {
    const category = categories.find((one) => one.id === id)
    return { kind: 'category', category: category ?? (base as EditedCategory | null) }
  }
  return undefined
}

const isNothing = (changed: object) => Object.keys(changed).length === 0
