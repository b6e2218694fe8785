import type { Confirmation, User } from '@tasktide/client'
import { useEffect, useState } from 'preact/hooks'
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
      {link.kind === 'unsubscribe' && (
        <Unsubscribe token={link.token} onwards={onwards} onDone={onDone} />
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

/** Asks first: a program that checks mail may have opened the link, and the account may be a stranger's. */
function ConfirmEmail({ token, onwards, onDone }: ByLinkProps) {
  const { account } = useClient()
  const [asked, setAsked] = useState<Confirmation>()
  const [isDisowned, setDisowned] = useState(false)
  const { isBusy, isDone, fault, code, run } = useRequest()
  const reading = useRequest()

  const read = () => reading.run(async () => setAsked(await account.showConfirmation(token)))
  useEffect(() => void read(), [])

  async function confirm() {
    if (await run(() => account.confirmEmail(token))) tellAccountChanged()
  }
  function disown() {
    setDisowned(true)
    void run(() => account.disownEmail(token))
  }

  const failed = reading.fault || fault
  const isInvalid = (reading.code || code) === 'link_not_valid'
  return (
    <>
      <h2>{isDone && !isDisowned ? 'Your address is confirmed' : 'Your email address'}</h2>
      <p role="status" class="welcome-line">
        {(isBusy || reading.isBusy) && 'One moment…'}
        {isDone &&
          (isDisowned
            ? 'This account does not have your address any more. It gets no more mail here.'
            : 'Mail of your account is sent to this address.')}
      </p>
      {asked && !isDone && !isInvalid && (
        <>
          <p>
            Is <strong>{asked.email}</strong> your address, and do you use the account{' '}
            <strong>{asked.username}</strong>?
            {asked.is_change && ' The address then replaces the one that the account has now.'}
          </p>
          <button type="button" class="primary wide" onClick={confirm} disabled={isBusy}>
            Confirm the address
          </button>
          <button type="button" class="wide" onClick={disown} disabled={isBusy}>
            Not my account
          </button>
        </>
      )}
      <Fault text={failed} />
      {isInvalid && (
        <p class="hint">
          If your address is not confirmed yet, you can request another link in your account
          settings.
        </p>
      )}
      {reading.fault && !isInvalid && (
        <button type="button" class="link" onClick={read}>
          Try again
        </button>
      )}
      <button
        type="button"
        class={isDone || isInvalid ? 'primary wide' : 'link'}
        onClick={onDone}
        disabled={isBusy}
      >
        {onwards}
      </button>
    </>
  )
}

/** Asks first, like the confirmation of an address. */
function Unsubscribe({ token, onwards, onDone }: ByLinkProps) {
  const { account } = useClient()
  const { isBusy, isDone, fault, run } = useRequest()
  const what = token.startsWith('digest') ? 'the daily digest' : 'reminders'
  return (
    <>
      <h2>Stop mail</h2>
      <p role="status" class="welcome-line">
        {isDone
          ? `You get no more mail with ${what}. You can turn it on again in your account settings.`
          : `Do you want to stop the mail with ${what}?`}
      </p>
      <Fault text={fault} />
      {!isDone && (
        <button
          type="button"
          class="primary wide"
          onClick={() => void run(() => account.unsubscribe(token))}
          disabled={isBusy}
        >
          Stop the mail
        </button>
      )}
      <button type="button" class={isDone ? 'primary wide' : 'link'} onClick={onDone}>
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
