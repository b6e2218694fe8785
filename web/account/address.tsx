import { useClient } from '../documents/client-context.ts'
import { useFactor } from '../forms/factor-prompt.tsx'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { formatMoment } from '../time/moments.ts'
import { type KnownAccount, tellAccountChanged } from './details.ts'
import { Section } from './page.tsx'

/** Shows and changes the email address. */
export function AccountAddress({ account: { details, fault, ask } }: { account: KnownAccount }) {
  const { account } = useClient()
  const resend = useRequest()
  const change = useRequest(['email', 'password'])
  const { factorPrompt, withFactor } = useFactor()

  async function submit(event: SubmitEvent) {
    const form = event.currentTarget as HTMLFormElement
    const given = fieldsOf(event)
    const wanted = { email: given('email').trim(), password: given('password') }
    const request = () => withFactor((factor) => account.changeEmail({ ...wanted, factor }))
    if (!(await change.run(request))) return
    form.reset()
    void ask()
    tellAccountChanged()
  }

  return (
    <Section title="Email address">
      {!details && <p class="hint">{fault || 'One moment…'}</p>}
      {details && (
        <p class="address">
          <strong>{details.email || 'No address'}</strong>{' '}
          {details.email_verified_at ? (
            <span class="tag">Confirmed</span>
          ) : (
            <span class="tag is-open">Not confirmed</span>
          )}
        </p>
      )}
      {details?.deletes_at && (
        <p role="status">
          Confirm it until {formatMoment(details.deletes_at)}, otherwise this account is deleted.
        </p>
      )}
      {details?.pending_email && (
        <p role="status">
          The address changes to <strong>{details.pending_email}</strong> when you open the link in
          the mail that we sent there.
        </p>
      )}
      {details && ((details.email && !details.email_verified_at) || details.pending_email) && (
        <div class="beside">
          <button
            type="button"
            disabled={resend.isBusy}
            onClick={() => resend.run(account.resendConfirmation)}
          >
            Resend the link
          </button>
          {resend.isDone && <span role="status">Sent.</span>}
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
      {factorPrompt}
    </Section>
  )
}
