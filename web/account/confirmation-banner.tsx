import type { AccountDetails } from '@tasktide/client'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { useRequest } from '../forms/request.ts'
import { formatMoment } from '../time/moments.ts'

/** Shown while the address is not confirmed. */
export function ConfirmationBanner({ details }: { details: AccountDetails | undefined }) {
  const { account } = useClient()
  const { isBusy, isDone, fault, run } = useRequest()
  if (!details || details.email_verified_at) return null
  const { email, deletes_at } = details
  return (
    <section aria-label="Email address" class="banner is-quiet">
      <p role="status">
        {isDone
          ? `A new mail was sent to ${email}.`
          : email === ''
            ? 'Your account has no address. Set one in your account settings, so that you can reset your password.'
            : deletes_at
              ? `Confirm ${email} until ${formatMoment(deletes_at)}, otherwise this account is deleted. Use the link in the mail that we sent you.`
              : `Confirm ${email} to receive reminders. Use the link in the mail that we sent you.`}
      </p>
      <Fault text={fault} />
      {!isDone && email !== '' && (
        <button
          type="button"
          class="link"
          disabled={isBusy}
          onClick={() => run(account.resendConfirmation)}
        >
          Resend the mail
        </button>
      )}
      <button type="button" class="link" onClick={() => location.assign('#account')}>
        {email === '' ? 'Set an address' : 'Change the address'}
      </button>
    </section>
  )
}
