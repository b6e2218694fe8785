import { useObservable } from '@tasktide/client/react'
import { useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { useFactor } from '../forms/factor-prompt.tsx'
import { Fault } from '../forms/fault.tsx'
import { passkeyFor } from '../forms/passkey.ts'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { ForgottenPassword } from './forgotten-password.tsx'
import { takeInvite } from './mail-link.ts'
import { Welcome } from './welcome.tsx'

/** Sign-in and registration. */
export function SignIn() {
  const { session } = useClient()
  const notice = useObservable(session.notice$)
  const [invite] = useState(takeInvite)
  const [isNew, setIsNew] = useState(invite !== undefined)
  const [isForgotten, setIsForgotten] = useState(false)
  const { isBusy, errors, fault, run, reset } = useRequest([
    'username',
    'email',
    'password',
    'invite',
  ])

  const { factorPrompt, withFactor } = useFactor()

  function submit(event: SubmitEvent) {
    const given = fieldsOf(event)
    const credentials = { username: given('username').trim(), password: given('password') }
    void run(() =>
      isNew
        ? session.register({
            ...credentials,
            email: given('email').trim(),
            ...(invite && { invite }),
          })
        : withFactor((factor) =>
            factor
              ? session.confirmFactor(factor, credentials.username)
              : session.signIn(credentials),
          ),
    )
  }

  async function signInWithPasskey() {
    const { ticket, public_key } = await session.passkeyChallenge()
    await session.confirmFactor({ ticket, passkey: await passkeyFor(public_key) })
  }

  if (isForgotten)
    return (
      <Welcome>
        <ForgottenPassword back="Back to sign-in" onBack={() => setIsForgotten(false)} />
      </Welcome>
    )
  return (
    <Welcome>
      <p class="welcome-line">Tasks that work offline and stay in sync on every device.</p>
      {notice === 'account_deleted' && (
        <p role="status" class="welcome-notice">
          The account was deleted. Its data was removed from this device.
        </p>
      )}
      {notice === 'device_erased' && (
        <p role="status" class="welcome-notice">
          This device was signed out and erased from another one. Changes that it had not sent are
          lost.
        </p>
      )}
      <form onSubmit={submit} noValidate>
        <TextField
          key="username"
          label="Username"
          name="username"
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
          autofocus
          required
          errors={errors.username}
        />
        {isNew && (
          <TextField
            key="email"
            label="Email"
            name="email"
            type="email"
            autocomplete="email"
            required
            errors={errors.email}
          />
        )}
        <TextField
          key="password"
          label="Password"
          name="password"
          type="password"
          autocomplete={isNew ? 'new-password' : 'current-password'}
          required
          hint={isNew ? NEW_PASSWORD_HINT : undefined}
          errors={errors.password}
        />
        <Fault text={errors.invite?.join(' ') ?? fault} />
        <button type="submit" class="primary wide" disabled={isBusy}>
          {isNew ? 'Create account' : 'Sign in'}
        </button>
      </form>
      {factorPrompt}
      <button
        type="button"
        class="link"
        onClick={() => {
          setIsNew(!isNew)
          reset()
        }}
      >
        {isNew ? 'I already have an account' : 'Create an account'}
      </button>
      {!isNew && (
        <button type="button" class="link" onClick={() => void run(signInWithPasskey)}>
          Use a passkey instead
        </button>
      )}
      {!isNew && (
        <button type="button" class="link" onClick={() => setIsForgotten(true)}>
          Forgot your password?
        </button>
      )}
    </Welcome>
  )
}

export const NEW_PASSWORD_HINT = 'At least 8 characters. Several words make a good password.'
