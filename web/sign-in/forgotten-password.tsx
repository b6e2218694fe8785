import { useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'

interface ForgottenPasswordProps {
  back: string
  onBack: () => void
}

/** Has a link mailed. What it says is the same for every address: it tells nobody who has an account. */
export function ForgottenPassword({ back, onBack }: ForgottenPasswordProps) {
  const { account } = useClient()
  const [address, setAddress] = useState('')
  const { isBusy, isDone, errors, fault, run } = useRequest(['email'])

  function submit(event: SubmitEvent) {
    const email = fieldsOf(event)('email').trim()
    setAddress(email)
    void run(() => account.forgotPassword(email))
  }

  return (
    <>
      <h2>Forgotten password</h2>
      {isDone ? (
        <p role="status" class="welcome-line">
          If an account has the address <strong>{address}</strong>, a mail is on its way to it. The
          link in it sets another password, for half an hour.
        </p>
      ) : (
        <form onSubmit={submit} noValidate>
          <TextField
            label="Email"
            name="email"
            type="email"
            autocomplete="email"
            autofocus
            required
            hint="The one of your account. A link that sets another password is mailed there."
            errors={errors.email}
          />
          <Fault text={fault} />
          <button type="submit" class="primary wide" disabled={isBusy}>
            Send the link
          </button>
        </form>
      )}
      <button type="button" class="link" onClick={onBack}>
        {back}
      </button>
    </>
  )
}
