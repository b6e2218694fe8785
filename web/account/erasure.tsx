import type { SignedInDevice } from '@tasktide/client'
import { Dialog } from '../forms/dialog.tsx'

interface ErasureDialogProps {
  device: SignedInDevice
  onCancel: () => void
  onErase: () => void
}

/** Asks before a device is erased, because what it has not sent is lost. */
export function ErasureDialog({ device, onCancel, onErase }: ErasureDialogProps) {
  return (
    <Dialog title={`Erase ${device.device}`} onLeave={onCancel}>
      <p>
        For a lost device: it is signed out now. As soon as it is online, it deletes all tasks of
        this account from itself.
      </p>
      <p>Changes that it has not sent are lost. Everything else stays in your account.</p>
      <div class="actions">
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="button" class="danger" onClick={onErase}>
          Sign out and erase
        </button>
      </div>
    </Dialog>
  )
}
