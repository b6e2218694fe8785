import type { RejectedEdit } from '../documents/documents.ts'
import { useEdits } from '../documents/edits.tsx'
import { FIELD_NAMES, shortened, titleOf } from '../documents/field-names.ts'

interface RejectedEditsProps {
  edits: readonly RejectedEdit[]
  onEdit: (edit: RejectedEdit) => void
}

/** Rejected edits with their reasons. */
export function RejectedEdits({ edits, onEdit }: RejectedEditsProps) {
  const { discard } = useEdits()
  if (edits.length === 0) return null
  return (
    <section aria-label="Rejected by the server" class="rejected">
      {edits.map((edit) => (
        <article key={`${edit.resource}/${edit.id}`} class="notice is-rejected">
          <h3>The server rejected “{shortened(titleOf(edit.document))}”</h3>
          <ul>
            {reasonsOf(edit).map(([field, reason]) => (
              <li key={field}>
                {field && <strong>{field}: </strong>}
                {reason}
              </li>
            ))}
          </ul>
          <div class="actions">
            {edit.resource !== 'profile' && (
              <button type="button" class="primary" onClick={() => onEdit(edit)}>
                Edit and retry
              </button>
            )}
            <button type="button" onClick={() => void discard(edit)}>
              Discard
            </button>
          </div>
        </article>
      ))}
    </section>
  )
}

function reasonsOf({ errors, code }: RejectedEdit): [field: string, reason: string][] {
  const reasons = Object.entries(errors).map(
    ([field, messages]) => [FIELD_NAMES[field] ?? field, messages.join(' ')] as [string, string],
  )
  return reasons.length > 0 ? reasons : [['', `Reason: ${code}.`]]
}
