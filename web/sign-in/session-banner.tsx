import type { User } from '@tasktide/client'
import { useClient } from '../documents/client-context.ts'
import { useSyncState } from '../documents/documents.ts'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'

/** Shown when the server has ended the session, or no longer supports this version of the app. */
export function SessionBanner({ user }: { user: User }) {
  const { session } = useClient()
  const { status } = useSyncState()
  const { fault, isBusy, run } = useRequest()

  function submit(event: SubmitEvent) {
    const password = fieldsOf(event)('password')
    void run(() => session.signIn({ username: user.username, password }))
  }

  if (status === 'signed_out')
    return (
      <div role="alert" class="banner">
        <p>Your session has ended. Sign in to send your changes.</p>
        <form onSubmit={submit}>
          <input type="hidden" name="username" autocomplete="username" value={user.username} />
          <TextField
            label="Password"
            name="password"
            type="password"
            autocomplete="current-password"
            required
            errors={fault ? [fault] : undefined}
          />
          <button type="submit" class="primary" disabled={isBusy}>
            Sign in
          </button>
        </form>
      </div>
    )
  if (status === 'outdated')
    return (
      <div role="alert" class="banner">
        <p>A new version of the app is available. Update this tab; your changes are kept.</p>
        <button type="button" class="primary" onClick={() => location.reload()}>
          Update now
        </button>
      </div>
    )
  return null
}
