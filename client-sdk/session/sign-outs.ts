import type { Api } from '../runtime/api.ts'
import { delayAfter } from '../runtime/back-off.ts'
import { ClientError } from '../runtime/client-error.ts'
import { exclusively, onWake } from '../runtime/environment.ts'
import type { TokenStore } from './token-store.ts'

/** Notifies the server of sessions that were signed out here, at once or when it is reachable again. */
export class SignOuts {
  private readonly store: TokenStore
  private readonly api: Api
  private readonly name: string
  private readonly abort = new AbortController()
  private readonly stopListening: () => void
  private timer: ReturnType<typeof setTimeout> | undefined
  private failures = 0
  private queue: Promise<void> = Promise.resolve()

  constructor(store: TokenStore, api: Api, name: string) {
    this.store = store
    this.api = api
    this.name = name
    this.stopListening = onWake(() => void this.deliver())
  }

  /** Resolves when the server was notified of all, or is unreachable. */
  deliver(): Promise<void> {
    clearTimeout(this.timer)
    const run = () => exclusively(`${this.name} sign-outs`, () => this.tellAll())
    this.queue = this.queue.then(run).catch(() => this.later())
    return this.queue
  }

  async close(): Promise<void> {
    this.abort.abort()
    this.stopListening()
    await this.queue
    clearTimeout(this.timer)
  }

  private async tellAll(): Promise<void> {
    const { signal } = this.abort
    for (const refresh of await this.store.forgotten()) {
      const request = { method: 'POST', body: { refresh }, signal }
      await this.api('/api/logout/', request).catch((error) => {
        // The session has already ended.
        if (!(error instanceof ClientError && error.code === 'token_not_valid')) throw error
      })
      await this.store.notified(refresh)
    }
    this.failures = 0
  }

  private later(): void {
    if (this.abort.signal.aborted) return
    this.timer = setTimeout(() => void this.deliver(), delayAfter(++this.failures))
  }
}
