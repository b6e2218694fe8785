import type { Factors, NewPasskey, NewTotp, Passkey } from '@tasktide/client'
import { useEffect, useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { useFactor } from '../forms/factor-prompt.tsx'
import { Fault } from '../forms/fault.tsx'
import { newPasskey } from '../forms/passkey.ts'
import { fieldsOf, useRequest } from '../forms/request.ts'
import { TextField } from '../forms/text-field.tsx'
import { Section } from './page.tsx'

/** The second factors of the account: an authenticator app, passkeys, recovery codes. */
export function AccountFactors() {
  const { account } = useClient()
  const [factors, setFactors] = useState<Factors>()
  const [passkeys, setPasskeys] = useState<Passkey[]>([])
  const [totp, setTotp] = useState<NewTotp>()
  const [codes, setCodes] = useState<string[]>([])
  const { isBusy, errors, fault, run } = useRequest(['password', 'code', 'name'])
  const { factorPrompt, withFactor } = useFactor()
  const reading = useRequest()

  const read = () =>
    reading.run(async () => {
      setFactors(await account.factors())
      setPasskeys(await account.passkeys())
    })
  useEffect(() => void read(), [])

  /** Does what needs the password, and reads what has become of it. */
  const change = (work: () => Promise<unknown>) => void run(work).then((done) => done && read())

  function submit(event: SubmitEvent & { submitter: HTMLElement | null }) {
    const action = (event.submitter as HTMLButtonElement | null)?.value ?? ''
    const given = fieldsOf(event)
    const form = event.currentTarget as HTMLFormElement
    const password = given('password')
    change(async () => {
      await withFactor(async (factor) => {
        const owner = { password, factor }
        if (action === 'remove_totp') return account.removeTotp(owner)
        if (action === 'codes') return setCodes(await account.newRecoveryCodes(owner))
        if (action === 'passkey') return addPasskey(await account.newPasskey(owner), given('name'))
        if (action !== '') return account.removePasskey(action, owner)
        setTotp(await account.newTotp(owner))
      })
      form.reset()
    })
  }

  async function addPasskey({ ticket, public_key }: NewPasskey, name: string) {
    const passkey = await newPasskey(public_key)
    setCodes(await account.confirmPasskey({ ticket, name: name.trim() || 'Passkey', passkey }))
  }

  function confirmTotp(event: SubmitEvent) {
    const code = fieldsOf(event)('code').replaceAll(' ', '')
    change(async () => {
      setCodes(await account.confirmTotp({ ticket: totp!.ticket, code }))
      setTotp(undefined)
    })
  }

  const hasFactor = factors && (factors.totp_since !== null || passkeys.length > 0)
  return (
    <Section
      title="Second factor"
      hint="Then a password alone does not open your account: sign-in asks for a code or a passkey, too."
    >
      {!factors && <p class="hint">{reading.fault || 'One moment…'}</p>}
      {factors && (
        <p role="status">
          {hasFactor
            ? `On: ${[factors.totp_since !== null && 'authenticator app', ...passkeys.map(({ name }) => name)].filter(Boolean).join(', ')}. Recovery codes left: ${factors.recovery_codes}.`
            : 'Off.'}
        </p>
      )}
      {codes.length > 0 && (
        <div role="alert">
          <p>
            Write down these recovery codes. Each replaces a lost device once, and they are not
            shown again.
          </p>
          <pre>{codes.join('\n')}</pre>
        </div>
      )}
      {totp && (
        <form onSubmit={confirmTotp} noValidate>
          <p>
            Add this key to your authenticator app, or <a href={totp.uri}>open the app</a> on this
            device. Then enter the code that it shows.
          </p>
          <pre>{totp.secret}</pre>
          <TextField
            label="Code"
            name="code"
            inputMode="numeric"
            autocomplete="one-time-code"
            autofocus
            required
            errors={errors.code}
          />
          <Fault text={fault} />
          <button type="submit" class="primary" disabled={isBusy}>
            Turn on
          </button>
        </form>
      )}
      {factors && !totp && (
        <details open={fault !== '' || Object.keys(errors).length > 0}>
          <summary>Change second factors</summary>
          <form onSubmit={submit} noValidate>
            <TextField
              label="Password"
              name="password"
              type="password"
              autocomplete="current-password"
              required
              errors={errors.password}
            />
            <TextField
              label="Name of a new passkey"
              name="name"
              hint="Such as the name of this device."
              errors={errors.name}
            />
            <Fault text={fault} />
            <div class="actions">
              {factors.totp_since === null ? (
                <button type="submit" value="" disabled={isBusy}>
                  Set up an authenticator app
                </button>
              ) : (
                <button type="submit" value="remove_totp" disabled={isBusy}>
                  Remove the authenticator app
                </button>
              )}
              <button type="submit" value="passkey" disabled={isBusy}>
                Add a passkey
              </button>
              {passkeys.map(({ id, name }) => (
                <button key={id} type="submit" value={id} disabled={isBusy}>
                  Remove {name}
                </button>
              ))}
              {hasFactor && (
                <button type="submit" value="codes" disabled={isBusy}>
                  New recovery codes
                </button>
              )}
            </div>
          </form>
        </details>
      )}
      {factorPrompt}
    </Section>
  )
}
