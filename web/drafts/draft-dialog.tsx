import type { ComponentChildren, RefObject } from 'preact'
import { Dialog } from '../forms/dialog.tsx'
import type { useFormDraft } from './form-draft.tsx'

interface DraftDialogProps<T extends object> {
  title: string
  /** What the form is about, in a sentence: `task`. */
  noun: string
  /** Whether the document was deleted while the dialog was open, or after the draft was written. */
  isDeleted: boolean
  draft: ReturnType<typeof useFormDraft<T>>
  form: RefObject<HTMLFormElement | null>
  /** The fields of the form that differ from the saved values. */
  changed: () => Partial<T>
  onClose: () => void
  children: ComponentChildren
}

/** A dialog with a form that loses no text: neither on Escape nor when another device deletes the document. */
export function DraftDialog<T extends object>(props: DraftDialogProps<T>) {
  const { title, noun, isDeleted, draft, form, changed, onClose, children } = props
  return (
    <Dialog title={title} onLeave={onClose}>
      {isDeleted && (
        <p role="alert" class="fault">
          This {noun} was deleted in the meantime. Your text is still here.
        </p>
      )}
      {draft.offer}
      <form
        ref={form}
        key={draft.formKey}
        onInput={() => draft.look(changed())}
        onSubmit={(event) => {
          event.preventDefault()
          void draft.save(changed())
        }}
      >
        {children}
      </form>
    </Dialog>
  )
}
