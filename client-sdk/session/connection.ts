import { BehaviorSubject, combineLatest, distinctUntilChanged, filter, map, Subject } from 'rxjs'
import { delayAfter } from '../runtime/back-off.ts'
import { ClientError } from '../runtime/client-error.ts'
import { until } from '../runtime/until.ts'
import type { Session } from './session.ts'

/** The outcome of the last request: none yet, a response, no response, or a foreign one. */
export type Contact = 'none' | 'good' | 'lost' | 'refused'

/**
 * The connection to the server. Requests are retried with back-off until they succeed, and wait while a
 * retry would be pointless.
 */
export class Connection {
  readonly contact$ = new BehaviorSubject<Contact>('none')
  /** The server no longer supports this version of the app. */
  readonly isOutdated$ = new BehaviorSubject(false)
  readonly isPaused$ = new BehaviorSubject(false)
  readonly error$ = new Subject<ClientError>()
  readonly isOpen$
  private readonly session: Session
  readonly user: string
  private readonly retry$ = new Subject<void>()
  private timer: ReturnType<typeof setTimeout> | undefined
  private failures = 0

  /** @param user the user whose tokens the requests use */
  constructor(session: Session, user: string) {
    this.session = session
    this.user = user
    this.isOpen$ = combineLatest([this.isOutdated$, this.isPaused$, session.kept$]).pipe(
      map(
        ([outdated, paused, kept]) =>
          !outdated && !paused && kept !== undefined && kept.user.id === user && !kept.ended,
      ),
      distinctUntilChanged(),
    )
  }

  /** @throws only when the signal aborts, and ClientError `checkpoint_expired`, which no retry can mend */
  async through<T>(attempt: (token: string) => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      await until(this.isOpen$.pipe(filter(Boolean)), signal)
      try {
        const result = await this.authorized(attempt)
        this.failures = 0
        this.contact$.next('good')
        return result
      } catch (error) {
        if (signal.aborted) throw error
        await this.afterFailure(asClientError(error), signal)
      }
    }
  }

  /** Retries at once, because conditions may have improved. */
  wake(): void {
    this.failures = 0
    this.retry()
  }

  close(): void {
    clearTimeout(this.timer)
  }

  /** Sends the request once, and refreshes the token if the server rejects it. */
  async authorized<T>(attempt: (token: string) => Promise<T>): Promise<T> {
    const token = await this.token()
    try {
      return await attempt(token)
    } catch (error) {
      if (!(error instanceof ClientError && error.code === 'token_not_valid')) throw error
      return attempt(await this.token(token))
    }
  }

  /** @param refused a token that the server has rejected */
  token(refused?: string): Promise<string> {
    return this.session.token(this.user, refused)
  }

  private async afterFailure(error: ClientError, signal: AbortSignal): Promise<void> {
    if (error.code === 'signed_out') return
    if (error.code === 'outdated_client') return this.isOutdated$.next(true)
    if (error.code === 'checkpoint_expired') {
      this.failures = 0
      this.contact$.next('good')
      throw error
    }
    this.contact$.next(error.code === 'unreachable' ? 'lost' : 'refused')
    this.error$.next(error)
    // A request that fails while others wait joins their wait.
    this.timer ??= setTimeout(
      () => this.retry(),
      Math.max(delayAfter(++this.failures), error.retryAfter),
    )
    await until(this.retry$, signal)
  }

  private retry(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.retry$.next()
  }
}

function asClientError(error: unknown): ClientError {
  if (error instanceof ClientError) return error
  return new ClientError('refused', String(error), { cause: error })
}
