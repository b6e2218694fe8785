import type { Category, Task } from '@tasktide/client'
import { CategoryDialog } from '../categories/category-dialog.tsx'
import type { RejectedEdit } from '../documents/documents.ts'
import { useEdits } from '../documents/edits.tsx'
import { TaskDialog } from '../tasks/task-dialog.tsx'

interface RejectedEditorProps {
  edit: RejectedEdit
  categories: readonly Category[]
  onClose: () => void
}

/** Edits and retries a rejected edit. */
export function RejectedEditor({ edit, categories, onClose }: RejectedEditorProps) {
  const { retry } = useEdits()
  const { resource, id, document, errors } = edit
  const dialog = {
    errors,
    draftKey: `refused/${resource}/${id}`,
    onSave: (corrections: Record<string, unknown>) => retry(edit, corrections),
    onClose,
  }
  return resource === 'tasks' ? (
    <TaskDialog task={document as unknown as Task} categories={categories} {...dialog} />
  ) : (
    <CategoryDialog category={document as unknown as Category} {...dialog} />
  )
}
