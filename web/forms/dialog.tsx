import type { ComponentChildren } from 'preact'
import { useId, useLayoutEffect, useRef } from 'preact/hooks'
import { DialogFault } from '../documents/edits.tsx'

interface DialogProps {
  title: string
  /** Escape. */
  onLeave: () => void
  children: ComponentChildren
}

/** A modal dialog: the browser keeps the focus in it, and puts it back where it was. */
export function Dialog({ title, onLeave, children }: DialogProps) {
  const id = useId()
  const dialog = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    const element = dialog.current!
    element.showModal()
    // Before it is taken out of the document: only then the focus goes back.
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
  /** What saving is called here. */
  save?: string
  isBusy: boolean
  onCancel: () => void
  /** What stands apart from the rest. */
  children?: ComponentChildren
}

/** How a dialog with a form ends. */
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
