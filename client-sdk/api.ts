import { ClientError, type FieldErrors } from './client-error.ts'
import type { Clock } from './clock.ts'

/** No answer at all may take longer: a request that hangs would hold up all that come after it. */
const PATIENCE_MS = 60_000

export interface ApiRequest {
  method?: string
  token?: string
  body?: unknown
  accept?: string
  signal?: AbortSignal
  /** Gives the answer itself, whose body comes in as it is read. */
  isStream?: boolean
}

export type Api = <T>(path: string, request?: ApiRequest) => Promise<T>

/**
 * Asks the server.
 *
 * @param gone told the token, of either kind, whose account is there no more
 * @throws ClientError `unreachable` without an answer, otherwise the code of the server's problem
 */
export function createApi(
  url: string,
  fetch: typeof globalThis.fetch,
  clock: Clock,
  gone: (token: string) => void,
): Api {
  return async <T>(path: string, request: ApiRequest = {}): Promise<T> => {
    const { method = 'GET', token, body, isStream, signal } = request
    const { accept = isStream ? '*/*' : 'application/json' } = request
    const abort = new AbortController()
    const stop = () => abort.abort()
    const timer = setTimeout(stop, PATIENCE_MS)
    signal?.addEventListener('abort', stop)
    if (signal?.aborted) stop()
    const askedAt = clock.device()
    try {
      const response = await fetch(url + path, {
        method,
        signal: abort.signal,
        headers: {
          accept,
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      clock.learn(response.headers.get('date'), askedAt)
      if (isStream && response.ok) return response as T
      const text = await response.text()
      if (!response.ok) throw refusal(response, text)
      return (text === '' ? undefined : JSON.parse(text)) as T
    } catch (cause) {
      if (cause instanceof ClientError) {
        const presented = token ?? (body as { refresh?: string } | undefined)?.refresh
        if (cause.code === 'account_deleted' && presented) gone(presented)
        throw cause
      }
      throw new ClientError('unreachable', 'The server cannot be reached.', { cause })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
    }
  }
}

function refusal(response: Response, text: string): ClientError {
  const problem = readProblem(text)
  const seconds = Number(response.headers.get('retry-after'))
  return new ClientError(problem.code ?? 'refused', problem.detail ?? `HTTP ${response.status}`, {
    status: response.status,
    ...(problem.errors && { errors: problem.errors }),
    retryAfter: seconds > 0 ? seconds * 1000 : 0,
  })
}

/** What answers may be a proxy, which knows nothing of problems. */
function readProblem(text: string): { code?: string; detail?: string; errors?: FieldErrors } {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}
