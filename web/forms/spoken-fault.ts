import { ClientError } from '@tasktide/client'

/** What went wrong, for the person who asked for it. */
export function spokenFault(error: unknown): string {
  if (error instanceof ClientError) return spokenRefusal(error)
  const names = namesOf(error)
  if (names.includes('QuotaExceededError'))
    return 'This device has no room left, so nothing was saved. Make some room, then try again.'
  if (names.some((name) => GONE.has(name)))
    return 'The browser has closed what the app keeps here, so nothing was saved. Copy what you wrote, then reload.'
  return 'This device could not save it. Try again, or copy what you wrote and reload.'
}

function spokenRefusal({ code, message }: ClientError): string {
  switch (code) {
    case 'credentials_not_valid':
      return 'Username or password is not right.'
    case 'unreachable':
      return 'The server cannot be reached. Try again in a moment.'
    case 'timed_out':
      return 'Some changes are not sent yet. Try again in a moment.'
    case 'outdated_client':
      return 'A newer version of the app runs in another tab, so this one cannot save. Copy what you wrote, then reload.'
    case 'not_found':
      return 'It was deleted meanwhile, so it could not be changed.'
    default:
      return message
  }
}

/** A database that was closed or deleted under the tab, as browsers and Dexie say it. */
const GONE = new Set(['DatabaseClosedError', 'InvalidStateError', 'NotFoundError'])

interface Wrapper {
  name?: string
  inner?: unknown
  cause?: unknown
  failures?: unknown[]
}

/** Dexie and RxDB wrap what the browser says, each in a way of its own. */
function namesOf(error: unknown, depth = 0): string[] {
  if (typeof error !== 'object' || error === null || depth > 4) return []
  const { name, inner, cause, failures = [] } = error as Wrapper
  const within = [inner, cause, ...failures.slice(0, 1)]
  return [String(name), ...within.flatMap((one) => namesOf(one, depth + 1))]
}
