import type { User } from '@tasktide/client'
import { useEffect } from 'preact/hooks'
import { tellAccountChanged } from '../account/details.ts'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { ForgottenPassword } from './forgotten-password.tsx'
import type { MailLink } from './mail-link.ts'
import { NEW_PASSWORD_HINT } from './sign-in.tsx'
import { Welcome } from './welcome.tsx'

interface MailLinkPageProps {
  link: MailLink
  user: User | null
  onDone: () => void
}

/** The page of a link in a mail, with or without a signed-in user. */
export function MailLinkPage({ link, user, onDone }: MailLinkPageProps) {
  const onwards = user ? 'Go to my tasks' : 'Go to sign-in'
  return (
    <Welcome>
      {link.kind === 'confirm_email' && (
        <ConfirmEmail token={link.token} onwards={onwards} onDone={onDone} />
      )}
      {link.kind === 'reset_password' && (
        <ResetPassword token={link.token} onwards={onwards} onDone={onDone} />
      )}
      {link.kind === 'forgot_password' && <ForgottenPassword back={onwards} onBack={onDone} />}
    </Welcome>
  )
}

interface ByLinkProps {
  token: string
  onwards: string
  onDone: () => void
}

function ConfirmEmail({ token, onwards, onDone }: ByLinkProps) {
  const { account } = useClient()
  const { isBusy, isDone, fault, code, run } = useRequest()

  async function confirm() {
    if (await run(() => account.confirmEmail(token))) tellAccountChanged()
  }
  useEffect(() => void confirm(), [])

  return (
    <>
      <h2>{isDone ? 'Your address is confirmed' : 'Your email address'}</h2>
      <p role="status" class="welcome-line">
        {isBusy && 'One moment…'}
        {isDone && 'Mail of your account is sent to this address.'}
      </p>
      <Fault text={fault} />
      {code === 'link_not_valid' && (
        <p class="hint">
          If your address is not confirmed yet, you can request another link in your account
          settings.
        </p>
      )}
      {fault && code !== 'link_not_valid' && (
        <button type="button" class="link" onClick={confirm}>
          Try again
        </button>
      )}
      <button type="button" class="primary wide" onClick={onDone} disabled={isBusy}>
        {onwards}
      </button>
    </>
  )
}

function ResetPassword({ token, onwards, onDone }: ByLinkProps) {
  const { account } = useClient()
  const { isBusy, isDone, errors, fault, run } = useRequest(['password'])

  function submit(event: SubmitEvent) {
    const password = fieldsOf(event)('password')
    void run(() => account.resetPassword({ token, password }))
  }

  if (isDone)
    return (
      <>
        <h2>Your password was changed</h2>
        <p role="status" class="welcome-line">
          All devices were signed out. Sign in with the new password. Unsent changes are kept on
          each device until you sign in there.
        </p>
        <button type="button" class="primary wide" onClick={onDone}>
          {onwards}
        </button>
      </>
    )
  return (
    <>
      <h2>Choose a new password</h2>
      <form onSubmit={submit} noValidate>
        <TextField
          label="New password"
          name="password"
          type="password"
          autocomplete="new-password"
          autofocus
          required
          hint={NEW_PASSWORD_HINT}
          errors={errors.password}
        />
        <Fault text={fault} />
        <button type="submit" class="primary wide" disabled={isBusy}>
          Change the password
        </button>
      </form>
      <button type="button" class="link" onClick={onDone}>
        {onwards}
      </button>
    </>
  )
}
