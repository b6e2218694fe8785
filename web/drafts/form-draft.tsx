import { useState } from 'preact/hooks'
import { localOf } from '../time/moments.ts'
import { useDraft } from './drafts.ts'

interface FormDraftOptions<T> {
  /** Which form. */
  draftKey: string
  name: string
  base: unknown
  /** Saves the changes. @returns whether they were stored */
  onSave: (changed: Partial<T>) => Promise<boolean>
  onClose: () => void
}

/** A form that stores its input as a draft until it is saved or cancelled. */
export function useFormDraft<T extends object>(options: FormDraftOptions<T>) {
  const { draftKey, name, base, onSave, onClose } = options
  const draft = useDraft(draftKey)
  const [isBusy, setIsBusy] = useState(false)
  return {
    isBusy,
    /** The saved values with the draft on top. */
    offered: draft.offered?.fields as Partial<T> | undefined,
    /** Changes when the draft is discarded, to reset the form. */
    formKey: draft.offered ? 'draft' : 'saved',
    offer: draft.offered && <DraftOffer at={draft.offered.at} onDecline={() => draft.decline()} />,
    /** Call on every input with the fields that differ from the saved values. */
    look(changed: Partial<T>) {
      if (Object.keys(changed).length === 0) draft.remove()
      else draft.keep({ name, base, fields: changed as Record<string, unknown> })
    },
    async save(changed: Partial<T>) {
      if (isBusy) return
      setIsBusy(true)
      const isKept = await onSave(changed)
      setIsBusy(false)
      if (!isKept) return
      draft.remove()
      onClose()
    },
    remove: draft.remove,
    cancel() {
      draft.remove()
      onClose()
    },
  }
}

function DraftOffer({ at, onDecline }: { at: string; onDecline: () => void }) {
  return (
    <p class="draft-offer" role="status">
      <span>Unsaved draft from {timeOf(at)}.</span>
      <button type="button" class="link" onClick={onDecline}>
        Discard draft
      </button>
    </p>
  )
}

const timeOf = (at: string) => {
  const [day, time] = localOf(new Date(at)).split('T')
  return day === localOf(new Date()).slice(0, 10) ? time : `${day}, ${time}`
}
