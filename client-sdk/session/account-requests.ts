import { isShaped } from '../runtime/answers.ts'
import type { Api, ApiRequest } from '../runtime/api.ts'
import { signedOut } from '../runtime/client-error.ts'
import type { Connection } from './connection.ts'

/** What the server knows of whoever is signed in. */
export interface AccountDetails {
  id: string
  username: string
  email: string
  /** When the address was confirmed. */
  email_verified_at: string | null
  /** The address that takes its place once it is confirmed. */
  pending_email: string | null
  role: 'user' | 'support' | 'admin'
  created_at: string
}

/** A device on which the person is signed in. */
export interface SignedInDevice {
  id: string
  user_agent: string
  /** The same for people: `Firefox on Linux`. */
  device: string
  created_at: string
  last_seen_at: string
  /** Whether it is this one. */
  current: boolean
}

/**
 * What is asked of the server at once, and so needs the network: without it, each of these is refused
 * as `unreachable`. All but the three for who has a link or has forgotten the password are for whoever
 * is signed in.
 */
export interface AccountRequests {
  get(): Promise<AccountDetails>
  /** @param token as it stands in the link that was mailed */
  confirmEmail(token: string): Promise<void>
  resendConfirmation(): Promise<void>
  /** Begins it: the address changes when the link that is mailed to the new one is followed. */
  changeEmail(change: { email: string; password: string }): Promise<void>
  /** Signs out all other devices. What is unsent there waits until the person signs in anew. */
  changePassword(change: { current_password: string; new_password: string }): Promise<void>
  /** Has a link mailed, if an account has this address; whether one has, nobody is told. */
  forgotPassword(email: string): Promise<void>
  /** Signs out all devices, and nobody in. */
  resetPassword(reset: { token: string; password: string }): Promise<void>
  /** The one used last comes first. */
  sessions(): Promise<SignedInDevice[]>
  endSession(id: string): Promise<void>
  endOtherSessions(): Promise<void>
  /** For good, here and on every device, with whatever is unsent. */
  delete(password: string): Promise<void>
  /** What the server has: all as JSON, or the tasks. Its body comes in as it is read. */
  export(format: 'json' | 'csv' | 'ics'): Promise<Response>
}

/** Whoever is signed in. */
interface SignedIn {
  readonly connection: Pick<Connection, 'authorized'>
}

/** @param gone told of the account that was deleted, by a token of its */
export function createAccountRequests(
  api: Api,
  account$: { readonly value: SignedIn | undefined },
  gone: (token: string) => Promise<void>,
): AccountRequests {
  const ask = <T>(path: string, request?: ApiRequest) => api<T>(`/api/account/${path}`, request)
  const authorized: Connection['authorized'] = async (attempt) => {
    if (!account$.value) throw signedOut()
    return account$.value.connection.authorized(attempt)
  }
  const signedIn = <T>(path: string, request?: ApiRequest) =>
    authorized((token) => ask<T>(path, { ...request, token }))
  const post = (body?: object) => ({ method: 'POST', body })
  const end = (path = '') => signedIn<void>(`sessions/${path}`, { method: 'DELETE' })
  return {
    get: () => signedIn('', { isAnswer: isShaped({ id: 'string', username: 'string' }) }),
    confirmEmail: (token) => ask('confirm-email/', post({ token })),
    resendConfirmation: () => signedIn('resend-confirmation/', post()),
    changeEmail: (change) => signedIn('change-email/', post(change)),
    changePassword: (change) => signedIn('change-password/', post(change)),
    forgotPassword: (email) => ask('forgot-password/', post({ email })),
    resetPassword: (reset) => ask('reset-password/', post(reset)),
    async sessions() {
      const isAnswer = isShaped({ results: 'array' })
      return (await signedIn<{ results: SignedInDevice[] }>('sessions/', { isAnswer })).results
    },
    endSession: (id) => end(`${id}/`),
    endOtherSessions: () => end(),
    delete: (password) =>
      authorized(async (token) => {
        await ask('delete/', { ...post({ password }), token })
        await gone(token)
      }),
    export: (format) =>
      signedIn(`export/${format === 'json' ? '' : `tasks.${format}`}`, {
        stream: MEDIA_TYPES[format],
      }),
  }
}

const MEDIA_TYPES = { json: 'application/json', csv: 'text/csv', ics: 'text/calendar' }
