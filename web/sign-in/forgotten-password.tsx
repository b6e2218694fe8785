import { useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'

interface ForgottenPasswordProps {
  back: string
  onBack: () => void
}

/** Requests a reset link. The response does not reveal whether the address has an account. */
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
      <h2>Reset your password</h2>
      {isDone ? (
        <p role="status" class="welcome-line">
          If an account uses the address <strong>{address}</strong>, we have sent a mail with a link
          to it. The link can be used once, within an hour.
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
            hint="The email address of your account. We will send a reset link to it."
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
