import type { AccountDetails } from '@tasktide/client'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { useRequest } from '../forms/request.ts'

/** While mail may not reach the person. */
export function ConfirmationBanner({ details }: { details: AccountDetails | undefined }) {
  const { account } = useClient()
  const { isBusy, isDone, fault, run } = useRequest()
  if (!details || details.email_verified_at) return null
  return (
    <section aria-label="Email address" class="banner is-quiet">
      <p role="status">
        {isDone
          ? `Another mail is on its way to ${details.email}.`
          : `Confirm ${details.email}: until then no reminder can reach you.`}
      </p>
      <Fault text={fault} />
      {!isDone && (
        <button
          type="button"
          class="link"
          disabled={isBusy}
          onClick={() => run(account.resendConfirmation)}
        >
          Send the mail again
        </button>
      )}
    </section>
  )
}
