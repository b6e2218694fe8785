import { type Observable, Subscription } from 'rxjs'
import { ClientError } from './client-error.ts'

/**
 * Waits for the first value.
 *
 * @throws ClientError `stopped` when the signal aborts
 */
export function until(event$: Observable<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      subscription.unsubscribe()
      reject(stopped())
    }
    const subscription = new Subscription()
    subscription.add(
      event$.subscribe(() => {
        subscription.unsubscribe()
        signal.removeEventListener('abort', stop)
        resolve()
      }),
    )
    if (signal.aborted) stop()
    else if (!subscription.closed) signal.addEventListener('abort', stop)
  })
}

export function stopped(): ClientError {
  return new ClientError('stopped', 'This tab no longer syncs.')
}
