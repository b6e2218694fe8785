import { type Category, type FieldErrors, maxLength } from '@tasktide/client'
import { useRef, useState } from 'preact/hooks'
import { DialogFault } from '../documents/edits.tsx'
import { DraftDialog } from '../drafts/draft-dialog.tsx'
import { useFormDraft } from '../drafts/form-draft.tsx'
import { DialogFoot } from '../forms/dialog.tsx'
import { TextField } from '../forms/text-field.tsx'

interface CategoryDialogProps {
  /** As it was when the dialog was opened; undefined for a new category. */
  category: EditedCategory | null
  draftKey: string
  errors?: FieldErrors
  /** Whether it was deleted while the dialog was open, or after the draft was written. */
  isDeleted?: boolean
  /** Saves the changed fields; also gets the whole category. @returns whether it was stored */
  onSave: (changed: Partial<CategoryText>, given: CategoryText) => Promise<boolean>
  onDelete?: (() => Promise<boolean>) | undefined
  onClose: () => void
}

type CategoryText = Pick<Category, 'name' | 'color'>

export type EditedCategory = Readonly<
  Pick<Category, 'id' | 'name' | 'color' | 'position' | 'created_at'>
>

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
  const { category, draftKey, errors = {}, isDeleted = false, onSave, onDelete, onClose } = props
  const form = useRef<HTMLFormElement>(null)
  const [isDeleting, setIsDeleting] = useState(false)
  const saved = { name: category?.name ?? '', color: category?.color ?? COLOURS[0]![0] }
  const draft = useFormDraft<CategoryText>({
    draftKey,
    name: saved.name || 'New category',
    base: category && pickEdited(category),
    onSave: (changed) => onSave(changed, written()),
    onClose,
  })
  const shown = { ...saved, ...draft.offered }
  const isKnown = COLOURS.some(([colour]) => colour === shown.color)
  const colours = isKnown ? COLOURS : [...COLOURS, [shown.color, 'Current colour'] as const]

  function written() {
    const given = new FormData(form.current!)
    return { name: String(given.get('name') ?? '').trim(), color: String(given.get('color')) }
  }

  function changed() {
    const given = written()
    return {
      ...(given.name !== saved.name && { name: given.name }),
      // No draft for a new category with only a colour.
      ...(given.color !== saved.color && (category || given.name) && { color: given.color }),
    }
  }

  async function remove() {
    if (!(await onDelete!())) return
    draft.remove()
    onClose()
  }

  return (
    <DraftDialog
      title={category ? 'Edit category' : 'New category'}
      noun="category"
      isDeleted={isDeleted}
      draft={draft}
      form={form}
      changed={changed}
      onClose={onClose}
    >
      <TextField
        label="Name"
        name="name"
        defaultValue={shown.name}
        limit={maxLength('categories', 'name')}
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
              defaultChecked={colour === shown.color}
              aria-label={name}
              style={{ '--colour': colour }}
            />
          </label>
        ))}
        {errors.color && <p class="fault">{errors.color.join(' ')}</p>}
      </fieldset>
      {isDeleting ? (
        <>
          <DialogFault />
          <div class="actions">
            <p class="apart">Its tasks are kept without a category.</p>
            <button type="button" onClick={() => setIsDeleting(false)}>
              Keep it
            </button>
            <button type="button" class="danger" onClick={() => void remove()}>
              Delete it
            </button>
          </div>
        </>
      ) : (
        <DialogFoot
          save={isDeleted ? 'Restore and save' : 'Save'}
          isBusy={draft.isBusy}
          onCancel={draft.cancel}
        >
          {onDelete && !isDeleted && (
            <button type="button" class="danger apart" onClick={() => setIsDeleting(true)}>
              Delete category
            </button>
          )}
        </DialogFoot>
      )}
    </DraftDialog>
  )
}

const pickEdited = ({ id, name, color, position, created_at }: EditedCategory) => ({
  id,
  name,
  color,
  position,
  created_at,
})
