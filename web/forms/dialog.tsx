import type { ComponentChildren } from 'preact'
import { useId, useLayoutEffect, useRef } from 'preact/hooks'
import { DialogFault } from '../documents/edits.tsx'

interface DialogProps {
  title: string
  /** Escape. */
  onLeave: () => void
  children: ComponentChildren
}

/** A modal dialog. The browser traps the focus, and restores it afterwards. */
export function Dialog({ title, onLeave, children }: DialogProps) {
  const id = useId()
  const dialog = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    const element = dialog.current!
    element.showModal()
    // Close it before removing it from the document; otherwise the focus is not restored.
    return () => element.close()
  }, [])
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onLeave()
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  )
}

interface DialogFootProps {
  /** The label of the save button. */
  save?: string
  isBusy: boolean
  onCancel: () => void
  /** An action apart from the others. */
  children?: ComponentChildren
}

/** The buttons of a dialog with a form. */
export function DialogFoot({ save = 'Save', isBusy, onCancel, children }: DialogFootProps) {
  return (
    <>
      <DialogFault />
      <div class="actions">
        {children}
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={isBusy}>
          {save}
        </button>
      </div>
    </>
  )
}
