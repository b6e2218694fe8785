import type { User } from '@tasktide/client'
import { useClient } from '../documents/client-context.ts'
import { useFactor } from '../forms/factor-prompt.tsx'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { NEW_PASSWORD_HINT } from '../sign-in/sign-in.tsx'
import { Section } from './page.tsx'

export function AccountPassword({ user }: { user: User }) {
  const { account } = useClient()
  const { isBusy, isDone, errors, fault, run } = useRequest(['current_password', 'new_password'])

  const { factorPrompt, withFactor } = useFactor()

  async function submit(event: SubmitEvent) {
    const form = event.currentTarget as HTMLFormElement
    const given = fieldsOf(event)
    const [current_password, new_password] = [given('current_password'), given('new_password')]
    const change = () =>
      withFactor((factor) => account.changePassword({ current_password, new_password, factor }))
    if (await run(change)) form.reset()
  }

  return (
    <Section title="Password">
      {isDone && <p role="status">Your password was changed. All other devices were signed out.</p>}
      <details open={fault !== '' || Object.keys(errors).length > 0}>
        <summary>Change the password</summary>
        <form onSubmit={submit} noValidate>
          <input type="hidden" name="username" autocomplete="username" value={user.username} />
          <TextField
            label="Current password"
            name="current_password"
            type="password"
            autocomplete="current-password"
            required
            errors={errors.current_password}
          />
          <TextField
            label="New password"
            name="new_password"
            type="password"
            autocomplete="new-password"
            required
            hint={NEW_PASSWORD_HINT}
            errors={errors.new_password}
          />
          <p class="hint">This signs out all other devices. Their unsent changes are kept there.</p>
          <Fault text={fault} />
          <button type="submit" class="primary" disabled={isBusy}>
            Change the password
          </button>
        </form>
      </details>
      {factorPrompt}
    </Section>
  )
}
