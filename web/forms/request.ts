import { ClientError, type FieldErrors } from '@tasktide/client'
import { useState } from 'preact/hooks'
import { errorMessage } from './error-message.ts'

interface Outcome {
  isBusy: boolean
  /** Whether the last request succeeded. */
  isDone: boolean
  /** Errors of fields. */
  errors: FieldErrors
  /** Any other error. */
  fault: string
  /** Why it was not done. */
  code: string
}

const NOTHING_YET: Outcome = { isBusy: false, isDone: false, errors: {}, fault: '', code: '' }

/**
 * A request that the user waits for.
 *
 * @param fields the fields that can show an error
 */
export function useRequest(fields: readonly string[] = []) {
  const [outcome, setOutcome] = useState(NOTHING_YET)

  /** @returns whether it succeeded */
  async function run(ask: () => Promise<unknown>): Promise<boolean> {
    setOutcome({ ...NOTHING_YET, isBusy: true })
    try {
      await ask()
      setOutcome({ ...NOTHING_YET, isDone: true })
      return true
    } catch (error) {
      if (!(error instanceof ClientError)) console.warn(error)
      const { errors, code } =
        error instanceof ClientError ? error : { errors: {}, code: 'not_stored_here' }
      const isBesideFields = Object.keys(errors).some((name) => fields.includes(name))
      const fault = isBesideFields ? '' : errorMessage(error)
      setOutcome({ ...NOTHING_YET, errors, fault, code })
      return false
    }
  }

  return { ...outcome, run, reset: () => setOutcome(NOTHING_YET) }
}

/** The values of a submitted form. */
export function fieldsOf(event: SubmitEvent): (name: string) => string {
  event.preventDefault()
  const form = new FormData(event.currentTarget as HTMLFormElement)
  return (name) => String(form.get(name) ?? '')
}
