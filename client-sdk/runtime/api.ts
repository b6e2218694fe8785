import { foreignAnswer, isDone, isFile, readJson, readProblem } from './answers.ts'
import { ClientError } from './client-error.ts'
import type { Clock } from './clock.ts'
import { elapsed } from './environment.ts'

/** How long a request may make no progress: a hanging request would block all later ones. */
export const PATIENCE_MS = 60_000
/** The longest Retry-After that is respected. */
const LONGEST_PAUSE_MS = 10 * 60_000
/** A connection that breaks after this share of the patience may have timed out in a proxy. */
const SLOW_SHARE = 0.1

export interface ApiRequest {
  method?: string
  token?: string
  body?: unknown
  accept?: string
  headers?: Record<string, string>
  signal?: AbortSignal
  /** Checks the shape of the body. Without it, the response must have no body. */
  isAnswer?: (body: unknown) => boolean
  /** For a streamed response: the expected media type. The response itself is returned. */
  stream?: string
}

export type Api = <T>(path: string, request?: ApiRequest) => Promise<T>

interface ApiOptions {
  url: string
  fetch: typeof globalThis.fetch
  clock: Clock
  /** Called with a token of a deleted account. */
  onAccountDeleted: (token: string) => void
  /** Called with a token of a session whose device has to delete its data. */
  onErased: (token: string) => void
  patience?: number
}

/**
 * Sends requests to the server. A response of anything else (a captive portal, a firewall, a proxy) is
 * never accepted: not as success, not as a rejection, and not as the current time.
 *
 * @returns a function that sends a request
 * @throws ClientError `unreachable` without a response, `foreign_answer` for a response that is not the
 *   server's, otherwise the code of the server's problem
 */
export function createApi(options: ApiOptions): Api {
  const { url, fetch, clock, onAccountDeleted, onErased, patience = PATIENCE_MS } = options
  return async <T>(path: string, request: ApiRequest = {}): Promise<T> => {
    const { method = 'GET', token, body, stream, signal } = request
    const { accept = stream ?? 'application/json' } = request
    const wait = new Wait(patience, signal)
    const askedAt = clock.device()
    try {
      const response = await fetch(url + path, {
        method,
        signal: wait.signal,
        // Passwords and tokens must not follow a redirect.
        redirect: 'manual',
        headers: {
          ...request.headers,
          accept,
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      wait.extend()
      if (stream && response.ok) {
        if (!isFile(response, stream)) throw foreignAnswer(response)
        return response as T
      }
      const answer = readAnswer<T>(response, await readText(response, wait), request.isAnswer)
      clock.learn(response.headers.get('date'), askedAt)
      if (answer instanceof ClientError) throw answer
      return answer
    } catch (cause) {
      if (!(cause instanceof ClientError)) throw unreachable(cause, wait)
      const presented = token ?? (body as { refresh?: string } | undefined)?.refresh
      if (cause.code === 'account_deleted' && presented) onAccountDeleted(presented)
      if (cause.code === 'token_not_valid' && cause.erase && presented) onErased(presented)
      throw cause
    } finally {
      wait.end()
    }
  }
}

/** Aborts a request without progress, or when its caller aborts. */
class Wait {
  readonly signal: AbortSignal
  private readonly abort = new AbortController()
  private readonly patience: number
  private readonly outer: AbortSignal | undefined
  private readonly began = elapsed()
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(patience: number, outer: AbortSignal | undefined) {
    this.signal = this.abort.signal
    this.patience = patience
    this.outer = outer
    outer?.addEventListener('abort', this.stop)
    if (outer?.aborted) this.stop()
    this.extend()
  }

  /** Whether it timed out here, or possibly in a proxy with a shorter time-out. */
  get isSlow(): boolean {
    return elapsed() - this.began > this.patience * SLOW_SHARE
  }

  /** Call on progress. */
  extend(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(this.stop, this.patience)
  }

  end(): void {
    clearTimeout(this.timer)
    this.outer?.removeEventListener('abort', this.stop)
  }

  private readonly stop = () => this.abort.abort()
}

/** Reads chunk by chunk. React Native has no streams and returns the whole body at once. */
async function readText(response: Response, wait: Wait): Promise<string> {
  const reader = response.body?.getReader?.()
  if (!reader || typeof TextDecoder !== 'function') return response.text()
  const decoder = new TextDecoder()
  for (let text = ''; ; ) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    wait.extend()
    text += decoder.decode(value, { stream: true })
  }
}

/**
 * @returns the response of the server, including problems
 * @throws ClientError `foreign_answer`
 */
function readAnswer<T>(response: Response, text: string, isAnswer: ApiRequest['isAnswer']) {
  if (!response.ok) return refusal(response, text)
  const body = readJson(response, text)
  if (isAnswer ? !isAnswer(body) : !isDone(response, text)) throw foreignAnswer(response)
  return body as T
}

function refusal(response: Response, text: string): ClientError {
  const { status } = response
  const retryAfter = pauseOf(response)
  const problem = readProblem(response, text)
  if (!problem) throw foreignAnswer(response, { retryAfter })
  const { code, detail, errors, erase = false, factor } = problem
  const isSlow = code === 'timed_out'
  return new ClientError(code, detail, {
    status,
    retryAfter,
    isSlow,
    erase,
    factor,
    ...(errors && { errors }),
  })
}

function unreachable(cause: unknown, { isSlow }: Wait): ClientError {
  return new ClientError('unreachable', 'The server is unreachable.', { cause, isSlow })
}

function pauseOf(response: Response): number {
  const seconds = Number(response.headers.get('retry-after'))
  return seconds > 0 ? Math.min(seconds * 1000, LONGEST_PAUSE_MS) : 0
}
