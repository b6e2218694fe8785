import type { User } from '@tasktide/client'
import { useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { Dialog } from '../forms/dialog.tsx'
import { useFactor } from '../forms/factor-prompt.tsx'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { Section } from './page.tsx'

export function AccountDeletion({ user }: { user: User }) {
  const [isAsking, setIsAsking] = useState(false)
  return (
    <Section title="Delete the account" hint="Permanent: the data cannot be restored.">
      <div class="beside">
        <button type="button" class="danger" onClick={() => setIsAsking(true)}>
          Delete my account
        </button>
      </div>
      {isAsking && <DeletionDialog user={user} onCancel={() => setIsAsking(false)} />}
    </Section>
  )
}

function DeletionDialog({ user, onCancel }: { user: User; onCancel: () => void }) {
  const { account } = useClient()
  const { isBusy, errors, fault, run } = useRequest(['password'])
  const { factorPrompt, withFactor } = useFactor()

  function submit(event: SubmitEvent) {
    const password = fieldsOf(event)('password')
    void run(() => withFactor((factor) => account.delete(password, factor)))
  }

  return (
    <Dialog title="Delete the account" onLeave={onCancel}>
      <p>All tasks, categories and settings of {user.username} are erased permanently.</p>
      <p>
        Every device is signed out, and its data is deleted, unsent changes included. Export your
        data first if you want to keep it.
      </p>
      <form onSubmit={submit} noValidate>
        <input type="hidden" name="username" autocomplete="username" value={user.username} />
        <TextField
          label="Password"
          name="password"
          type="password"
          autocomplete="current-password"
          autofocus
          required
          errors={errors.password}
        />
        <Fault text={fault} />
        <div class="actions">
          <button type="button" onClick={onCancel}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={isBusy}>
            Delete everything
          </button>
        </div>
      </form>
      {factorPrompt}
    </Dialog>
  )
}
