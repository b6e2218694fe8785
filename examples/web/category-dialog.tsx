import { useState } from 'preact/hooks'
import type { Category, FieldErrors } from '../../client-sdk/index.ts'
import { Dialog, DialogFoot } from './dialog.tsx'
import { TextField } from './text-field.tsx'

interface CategoryDialogProps {
  /** None for a new one. */
  category?: Pick<Category, 'name' | 'color'>
  errors?: FieldErrors
  onSave: (given: Pick<Category, 'name' | 'color'>) => void
  onDelete?: () => void
  onCancel: () => void
}

const COLOURS: readonly [string, string][] = [
  ['#0ea5e9', 'Sky'],
  ['#14b8a6', 'Teal'],
  ['#22c55e', 'Green'],
  ['#eab308', 'Yellow'],
  ['#f97316', 'Orange'],
  ['#ef4444', 'Red'],
  ['#ec4899', 'Pink'],
  ['#8b5cf6', 'Violet'],
  ['#64748b', 'Slate'],
]

export function CategoryDialog(props: CategoryDialogProps) {
  const { category, errors = {}, onSave, onDelete, onCancel } = props
  const [isDeleting, setIsDeleting] = useState(false)
  const current = category?.color ?? COLOURS[0]![0]
  const isKnown = COLOURS.some(([colour]) => colour === current)
  const colours = isKnown ? COLOURS : [...COLOURS, [current, 'As it is'] as const]

  function submit(event: SubmitEvent) {
    event.preventDefault()
    const form = new FormData(event.currentTarget as HTMLFormElement)
    const name = String(form.get('name') ?? '').trim()
    if (name !== '') onSave({ name, color: String(form.get('color')) })
  }

  return (
    <Dialog title={category ? 'Edit category' : 'New category'} onCancel={onCancel}>
      <form onSubmit={submit}>
        <TextField
          label="Name"
          name="name"
          defaultValue={category?.name ?? ''}
          required
          autofocus
          autocomplete="off"
          errors={errors.name}
        />
        <fieldset class="colours">
          <legend>Colour</legend>
          {colours.map(([colour, name]) => (
            <label key={colour} title={name}>
              <input
                type="radio"
                name="color"
                value={colour}
                defaultChecked={colour === current}
                aria-label={name}
                style={{ '--colour': colour }}
              />
            </label>
          ))}
          {errors.color && <p class="fault">{errors.color.join(' ')}</p>}
        </fieldset>
        {isDeleting ? (
          <div class="actions">
            <p class="apart">Its tasks stay, without a category.</p>
            <button type="button" onClick={() => setIsDeleting(false)}>
              Keep it
            </button>
            <button type="button" class="danger" onClick={onDelete}>
              Delete it
            </button>
          </div>
        ) : (
          <DialogFoot onCancel={onCancel}>
            {onDelete && (
              <button type="button" class="danger apart" onClick={() => setIsDeleting(true)}>
                Delete category
              </button>
            )}
          </DialogFoot>
        )}
      </form>
    </Dialog>
  )
}
