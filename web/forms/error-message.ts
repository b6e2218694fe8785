import { ClientError } from '@tasktide/client'

/** An error as a message for the user. */
export function errorMessage(error: unknown): string {
  if (error instanceof ClientError) return clientErrorMessage(error)
  const names = namesOf(error)
  if (names.includes('QuotaExceededError'))
    return 'The storage of this device is full, so the change was not saved. Free some space, then try again.'
  if (names.some((name) => GONE.has(name)))
    return 'The browser has closed the storage of this app, so the change was not saved. Copy your text, then reload.'
  return 'This device could not save the change. Try again, or copy your text and reload.'
}

function clientErrorMessage({ code, message }: ClientError): string {
  switch (code) {
    case 'credentials_not_valid':
      return 'Wrong username or password.'
    case 'unreachable':
      return 'The server is unreachable. Try again in a moment.'
    case 'timed_out':
      return 'Some changes have not been sent yet. Try again in a moment.'
    case 'outdated_client':
      return 'A newer version of the app runs in another tab, so this tab cannot save. Copy your text, then reload.'
    case 'not_found':
      return 'It was deleted in the meantime, so it could not be changed.'
    default:
      return message
  }
}

/** Whether the database was closed or deleted under the tab, in the words of browsers and Dexie. */
const GONE = new Set(['DatabaseClosedError', 'InvalidStateError', 'NotFoundError'])

interface Wrapper {
  name?: string
  inner?: unknown
  cause?: unknown
  failures?: unknown[]
}

/** Dexie and RxDB wrap browser errors in different ways. */
function namesOf(error: unknown, depth = 0): string[] {
  if (typeof error !== 'object' || error === null || depth > 4) return []
  const { name, inner, cause, failures = [] } = error as Wrapper
  const within = [inner, cause, ...failures.slice(0, 1)]
  return [String(name), ...within.flatMap((one) => namesOf(one, depth + 1))]
}
