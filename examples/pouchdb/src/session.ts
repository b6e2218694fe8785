/** Signing in, and a `fetch` for PouchDB that sends the token and renews it. */

export const SERVER = import.meta.env.VITE_TASKTIDE_URL ?? 'http://localhost:3000'

interface Session {
  username: string
  access: string
  refresh: string
}

/** Read each time, because another tab may have renewed the tokens. */
export const session = (): Session | undefined =>
  JSON.parse(localStorage.getItem('session') ?? 'null') ?? undefined

const keep = (session: Session) => localStorage.setItem('session', JSON.stringify(session))
const forget = () => localStorage.removeItem('session')

const post = (path: string, body: object) =>
  fetch(SERVER + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })

/** @throws Error with what the server says */
export async function signIn(username: string, password: string): Promise<void> {
  const response = await post('/api/token/', { username, password })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.detail)
  // The username as it was registered, whether the address or other letters were typed.
  keep({ username: answer.username, access: answer.access, refresh: answer.refresh })
}

/** What has been typed stays on this device, and is sent after the next sign-in. */
export async function signOut(): Promise<void> {
  const refresh = session()?.refresh
  forget()
  // Without a network the session ends on this device only.
  if (refresh) await post('/api/logout/', { refresh }).catch(() => {})
}

/** Called when the session has ended, such as by a new password; with `erase` the owner has lost this device. */
export const ended: { call(end: { erase: boolean }): unknown } = { call() {} }

/**
 * The `fetch` for the PouchDB of a person. It sends nothing with the token of another one, who may have signed in in
 * another tab.
 */
export function fetchAs(username: string) {
  return async (url: string | Request, options: RequestInit = {}) => {
    const access = tokensOf(username)?.access
    const response = await send(access)
    if (response.status !== 401) return response
    const renewed = await renew(username, access)
    return renewed ? send(renewed) : response

    function send(token: string | undefined) {
      const headers = new Headers(options.headers)
      headers.set('Authorization', `Bearer ${token}`)
      return fetch(url, { ...options, headers, credentials: 'omit' })
    }
  }
}

function tokensOf(username: string): Session | undefined {
  const current = session()
  return current?.username === username ? current : undefined
}

/**
 * One request and one tab at a time: each refresh token is good for one use.
 *
 * @returns undefined if the session has ended
 */
async function renew(username: string, refused: string | undefined): Promise<string | undefined> {
  return navigator.locks.request('session', async () => {
    const current = tokensOf(username)
    if (current && current.access !== refused) return current.access
    if (current) {
      const response = await post('/api/token/refresh/', { refresh: current.refresh })
      const answer = await response.json()
      if (response.ok) {
        keep({ ...current, access: answer.access, refresh: answer.refresh })
        return answer.access
      }
      // PouchDB tries again.
      if (response.status !== 401) throw new Error(answer.detail)
      forget()
      ended.call({ erase: answer.erase === true })
    } else ended.call({ erase: false })
    return undefined
  })
}
