import type { User } from '@tasktide/client'
import { useState } from 'preact/hooks'
import { DialogFault, useEdits } from '../documents/edits.tsx'
import { Dialog } from '../forms/dialog.tsx'

export function AccountMenu({ user }: { user: User }) {
  const edits = useEdits()
  const [isAsking, setIsAsking] = useState(false)

  async function signOut(keepData?: boolean) {
    const outcome = await edits.signOut(keepData === undefined ? {} : { keepData })
    if (outcome) setIsAsking(outcome === 'unsent')
  }

  return (
    <>
      <button type="button" class="avatar" aria-label="Account" popovertarget="account-menu">
        {[...user.username][0]!.toUpperCase()}
      </button>
      <div id="account-menu" popover="auto" class="menu">
        <p class="who">
          Signed in as <strong>{user.username}</strong>
        </p>
        <dl class="keys">
          <dt>
            <kbd>N</kbd>
          </dt>
          <dd>New task</dd>
          <dt>
            <kbd>/</kbd>
          </dt>
          <dd>Search</dd>
          <dt>
            <kbd>↑</kbd> <kbd>↓</kbd>
          </dt>
          <dd>Move through the list; on a handle, move the task</dd>
        </dl>
        <button
          type="button"
          popovertarget="account-menu"
          popovertargetaction="hide"
          onClick={() => location.assign('#account')}
        >
          Account settings
        </button>
        <button
          type="button"
          popovertarget="account-menu"
          popovertargetaction="hide"
          onClick={() => void signOut()}
        >
          Sign out
        </button>
      </div>
      {isAsking && (
        <Dialog title="Unsent changes" onLeave={() => setIsAsking(false)}>
          <p>
            Some of your changes have not been sent yet. You can keep them on this device until you
            sign in again.
          </p>
          <DialogFault />
          <div class="actions is-stacked">
            <button type="button" class="primary" onClick={() => void signOut(true)}>
              Keep them on this device
            </button>
            <button type="button" class="danger" onClick={() => void signOut(false)}>
              Discard them
            </button>
            <button type="button" onClick={() => setIsAsking(false)}>
              Cancel
            </button>
          </div>
        </Dialog>
      )}
    </>
  )
}
