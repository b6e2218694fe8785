import { ClientError, type FactorChallenge, type FactorProof } from '@tasktide/client'
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { Dialog } from './dialog.tsx'
import { errorMessage } from './error-message.ts'
import { Fault } from './fault.tsx'
import { passkeyFor } from './passkey.ts'
import { fieldsOf } from './request.ts'
import { TextField } from './text-field.tsx'

interface Asked {
  challenge: FactorChallenge
  /** Why it is asked again. */
  fault: string
  answer: (proof: FactorProof | undefined) => void
}

/**
 * Asks for the second factor when a request needs one, and makes the request again with it, until it is
 * right or the user cancels.
 *
 * @returns the dialog, to be shown beside the form, and what wraps the request
 */
export function useFactor() {
  const [asked, setAsked] = useState<Asked>()

  /** @throws ClientError `factor_required` if the user cancels, and what the request throws */
  async function withFactor<T>(request: (factor?: FactorProof) => Promise<T>): Promise<T> {
    let proof: FactorProof | undefined
    let fault = ''
    for (;;)
      try {
        return await request(proof)
      } catch (error) {
        if (!(error instanceof ClientError)) throw error
        if (error.code === 'factor_not_valid') {
          // Its challenge may be used up, so the request is begun again.
          fault = error.message
          proof = undefined
        } else if (error.factor) {
          proof = await ask(error.factor, fault)
          if (!proof) throw error
        } else throw error
      }
  }

  async function ask(challenge: FactorChallenge, fault: string): Promise<FactorProof | undefined> {
    const proof = await new Promise<FactorProof | undefined>((answer) =>
      setAsked({ challenge, fault, answer }),
    )
    setAsked(undefined)
    return proof
  }

  return { factorPrompt: asked ? <FactorPrompt {...asked} /> : null, withFactor }
}

function FactorPrompt({ challenge, fault, answer }: Asked): JSX.Element {
  const { ticket, methods, public_key } = challenge
  const [passkeyFault, setPasskeyFault] = useState('')
  const hasCodes = methods.includes('totp') || methods.includes('recovery_code')

  function submit(event: SubmitEvent) {
    const code = fieldsOf(event)('code').trim()
    // Authenticator apps show six digits, often with a space; recovery codes are longer.
    const digits = code.replaceAll(' ', '')
    answer(/^\d{6}$/.test(digits) ? { ticket, totp: digits } : { ticket, recovery_code: code })
  }

  async function usePasskey() {
    try {
      answer({ ticket, passkey: await passkeyFor(public_key!) })
    } catch (error) {
      setPasskeyFault(errorMessage(error))
    }
  }

  return (
    <Dialog title="Second factor" onLeave={() => answer(undefined)}>
      <form onSubmit={submit} noValidate>
        {hasCodes && (
          <TextField
            label="Code"
            name="code"
            autocomplete="one-time-code"
            autocapitalize="none"
            spellcheck={false}
            autofocus
            required
            hint="The six digits of your authenticator app, or one of your recovery codes."
          />
        )}
        <Fault text={passkeyFault || fault} />
        <div class="actions">
          {public_key && (
            <button type="button" onClick={usePasskey}>
              Use a passkey
            </button>
          )}
          <button type="button" onClick={() => answer(undefined)}>
            Cancel
          </button>
          {hasCodes && (
            <button type="submit" class="primary">
              Confirm
            </button>
          )}
        </div>
      </form>
    </Dialog>
  )
}
