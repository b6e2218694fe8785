import type { Category, Task, User } from '@tasktide/client'
import { draftKeyOf, type Editing, editingOf } from '../documents/editor.tsx'
import { useDrafts } from './drafts.ts'

interface UnsavedDraftsProps {
  user: User
  tasks: readonly Readonly<Task>[]
  categories: readonly Readonly<Category>[]
  /** What is open in a dialog now. */
  editing: Editing | null
  onContinue: (editing: Editing) => void
}

/** Offers unsaved drafts. */
export function UnsavedDrafts(props: UnsavedDraftsProps) {
  const { user, tasks, categories, editing, onContinue } = props
  const drafts = useDrafts(user.id)
  const open = editing && draftKeyOf(editing)
  const offered = drafts.all.filter(
    (draft) => draft.key !== open && editingOf(draft, tasks, categories),
  )
  if (offered.length === 0) return null
  return (
    <section aria-label="Drafts" class="banner is-quiet is-drafts">
      {offered.map((draft) => (
        <div key={draft.key} class="draft">
          <p>
            Unsaved changes to <strong>{draft.name}</strong>
          </p>
          <button
            type="button"
            class="link"
            aria-label={`Continue editing ${draft.name}`}
            onClick={() => onContinue(editingOf(draft, tasks, categories)!)}
          >
            Continue
          </button>
          <button
            type="button"
            class="link"
            aria-label={`Discard the changes to ${draft.name}`}
            onClick={() => drafts.remove(draft.key)}
          >
            Discard
          </button>
        </div>
      ))}
    </section>
  )
}
