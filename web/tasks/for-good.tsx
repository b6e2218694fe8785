import type { Task } from '@tasktide/client'
import { DialogFault } from '../documents/edits.tsx'
import { Dialog } from '../forms/dialog.tsx'

interface ForGoodDialogProps {
  task: Readonly<Task>
  onCancel: () => void
  onDelete: () => void
}

/** Asks before a task is deleted for good, because nothing brings it back. */
export function ForGoodDialog({ task, onCancel, onDelete }: ForGoodDialogProps) {
  return (
    <Dialog title="Delete for good" onLeave={onCancel}>
      <p>
        <strong>{task.title}</strong> is erased with its notes, from your account and from all of
        your devices. It cannot be restored.
      </p>
      <p>Devices that are offline erase it when they are online again.</p>
      <DialogFault />
      <div class="actions">
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="button" class="danger" onClick={onDelete}>
          Delete for good
        </button>
      </div>
    </Dialog>
  )
}
