import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { type KnownAccount, tellAccountChanged } from './details.ts'
import { Section } from './page.tsx'

/** The email address: whether it is confirmed, and another one. */
export function AccountAddress({ account: { details, fault, ask } }: { account: KnownAccount }) {
  const { account } = useClient()
  const resend = useRequest()
  const change = useRequest(['email', 'password'])

  async function submit(event: SubmitEvent) {
    const form = event.currentTarget as HTMLFormElement
    const given = fieldsOf(event)
    const wanted = { email: given('email').trim(), password: given('password') }
    if (!(await change.run(() => account.changeEmail(wanted)))) return
    form.reset()
    void ask()
    tellAccountChanged()
  }

  return (
    <Section title="Email address">
      {!details && <p class="hint">{fault || 'One moment…'}</p>}
      {details && (
        <p class="address">
          <strong>{details.email}</strong>{' '}
          {details.email_verified_at ? (
            <span class="tag">Confirmed</span>
          ) : (
            <span class="tag is-open">Not confirmed</span>
          )}
        </p>
      )}
      {details?.pending_email && (
        <p role="status">
          <strong>{details.pending_email}</strong> takes its place once you follow the link that was
          mailed there.
        </p>
      )}
      {details && (!details.email_verified_at || details.pending_email) && (
        <div class="beside">
          <button
            type="button"
            disabled={resend.isBusy}
            onClick={() => resend.run(account.resendConfirmation)}
          >
            Send the link again
          </button>
          {resend.isDone && <span role="status">It is on its way.</span>}
        </div>
      )}
      <Fault text={resend.fault} />
      <details open={change.fault !== '' || Object.keys(change.errors).length > 0}>
        <summary>Change the address</summary>
        <form onSubmit={submit} noValidate>
          <TextField
            label="New address"
            name="email"
            type="email"
            autocomplete="email"
            required
            errors={change.errors.email}
          />
          <TextField
            label="Password"
            name="password"
            type="password"
            autocomplete="current-password"
            required
            errors={change.errors.password}
          />
          <Fault text={change.fault} />
          <button type="submit" class="primary" disabled={change.isBusy}>
            Change the address
          </button>
        </form>
      </details>
    </Section>
  )
}
