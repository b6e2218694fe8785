import { type Observable, Subscription } from 'rxjs'
import { ClientError } from './client-error.ts'

/**
 * Until something happens once.
 *
 * @throws ClientError `stopped` as soon as the signal ends the wait
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
  return new ClientError('stopped', 'This tab does not sync any more.')
}
