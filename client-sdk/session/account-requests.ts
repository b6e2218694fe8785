import type { Shape } from '../../protocol/shape.ts'
import { shapes } from '../local/shapes.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api, ApiRequest } from '../runtime/api.ts'
import { signedOut } from '../runtime/client-error.ts'
import type {
  FactorProof,
  Factors,
  NewPasskey,
  NewTotp,
  OwnerProof,
  Passkey,
} from '../runtime/factors.ts'
import type { Connection } from './connection.ts'

/** The account of the signed-in user. */
export interface AccountDetails {
  id: string
  username: string
  /** Empty after its owner has said that the account is not theirs. */
  email: string
  /** When the address was confirmed; null if it is not. */
  email_verified_at: string | null
  /** The new address, until it is confirmed. */
  pending_email: string | null
  role: 'user' | 'support' | 'admin'
  created_at: string
  /** When the account is deleted unless its address is confirmed. Null if it is not; earlier servers omit it. */
  deletes_at?: string | null
  /** What is stored. Servers of earlier releases omit it. */
  usage?: StorageUsage
}

/** What an account stores, and may store. What exceeds it stays on the device. */
export interface StorageUsage {
  /** Documents that are not deleted. */
  documents: number
  /** Null for any number. */
  max_documents: number | null
  /** Of everything, with deleted documents and the conflict journal. */
  bytes: number
  /** Null for any number. */
  max_bytes: number | null
}

/** What the link of a confirmation mail would confirm. */
export interface Confirmation {
  username: string
  email: string
  /** Whether the address would replace another one. */
  is_change: boolean
}

/** A signed-in device. */
export interface SignedInDevice {
  id: string
  user_agent: string
  /** The user agent in words: `Firefox on Linux`. */
  device: string
  created_at: string
  last_seen_at: string
  /** Whether it is this device. */
  current: boolean
}

/** A token with which a script uses the account. */
export interface PersonalToken {
  id: string
  name: string
  /** Such as `tasks:read`. Later servers may have more. */
  scopes: string[]
  created_at: string
  /** Accurate to about a minute; null if never. */
  last_used_at: string | null
  /** Null for never. */
  expires_at: string | null
}

/** What happened to the account, or was tried. */
export interface SecurityEvent {
  id: string
  /** Such as `sign_in`. Later servers may have more. */
  kind: string
  outcome: 'done' | 'refused'
  /** Where from: `203.0.113.0/24`. */
  network: string | null
  device: string | null
  details: Record<string, string>
  request_id: string | null
  /** How often, from `created_at` to `last_at`. */
  times: number
  created_at: string
  last_at: string
}

/**
 * Account operations. They call the server directly: without a network each throws `unreachable`. All
 * but those with a token from a mail, and `forgotPassword`, need a signed-in user.
 */
export interface AccountRequests {
  get(): Promise<AccountDetails>
  /** What the link of a confirmation mail is for. Ask before you confirm: mail scanners open links. */
  showConfirmation(token: string): Promise<Confirmation>
  /** Tells the server that the account of a confirmation mail belongs to somebody else. */
  disownEmail(token: string): Promise<void>
  /** @param token the token from the mailed link */
  confirmEmail(token: string): Promise<void>
  resendConfirmation(): Promise<void>
  /** Ends reminders or digests. @param token the token from the link in such a mail */
  unsubscribe(token: string): Promise<void>
  /** Mails a link to the new address. The address changes when the link is used. */
  changeEmail(change: { email: string } & OwnerProof): Promise<void>
  /** Signs out all other devices. Their unsent edits are kept until the user signs in there again. */
  changePassword(change: {
    current_password: string
    new_password: string
    factor?: FactorProof | undefined
  }): Promise<void>
  /** Mails a reset link if an account has this address. Does not reveal whether one has. */
  forgotPassword(email: string): Promise<void>
  /** Signs out all devices and does not sign in. */
  resetPassword(reset: { token: string; password: string }): Promise<void>
  /** The most recently used first. */
  sessions(): Promise<SignedInDevice[]>
  /**
   * Signs out a device.
   *
   * @param options.erase whether it also has to delete all data of the account, unsent edits included, as soon
   *   as it reaches the server
   */
  endSession(id: string, options?: { erase?: boolean }): Promise<void>
  endOtherSessions(): Promise<void>
  /** The newest first. They are created over REST, with the password. */
  personalTokens(): Promise<PersonalToken[]>
  revokePersonalToken(id: string): Promise<void>
  /** Who tried to sign in, to change the account or to read it: the last 100 events, the newest first. */
  events(): Promise<SecurityEvent[]>
  /** Permanent, on the server and on every device, unsent edits included. */
  delete(password: string, factor?: FactorProof): Promise<void>
  factors(): Promise<Factors>
  /** Begins to set up an authenticator app. */
  newTotp(owner: OwnerProof): Promise<NewTotp>
  /** @returns recovery codes, if it is the first factor; they cannot be read again */
  confirmTotp(confirmation: { ticket: string; code: string }): Promise<string[]>
  removeTotp(owner: OwnerProof): Promise<void>
  passkeys(): Promise<Passkey[]>
  /** Begins to add a passkey. */
  newPasskey(owner: OwnerProof): Promise<NewPasskey>
  /** @returns recovery codes, if it is the first factor; they cannot be read again */
  confirmPasskey(confirmation: { ticket: string; name: string; passkey: object }): Promise<string[]>
  renamePasskey(id: string, name: string): Promise<void>
  removePasskey(id: string, owner: OwnerProof): Promise<void>
  /** Replaces the recovery codes. */
  newRecoveryCodes(owner: OwnerProof): Promise<string[]>
  /** The data on the server: everything as JSON, or the tasks. The body is streamed. */
  export(format: 'json' | 'csv' | 'ics'): Promise<Response>
}

/** The signed-in user. */
interface SignedIn {
  readonly connection: Pick<Connection, 'authorized'>
}

/** @param onAccountDeleted called with a token of a deleted account */
export function createAccountRequests(
  api: Api,
  localCopy$: { readonly value: SignedIn | undefined },
  onAccountDeleted: (token: string) => Promise<void>,
): AccountRequests {
  const ask = <T>(path: string, request?: ApiRequest) => api<T>(`/api/account/${path}`, request)
  const authorized: Connection['authorized'] = async (attempt) => {
    if (!localCopy$.value) throw signedOut()
    return localCopy$.value.connection.authorized(attempt)
  }
  const signedIn = <T>(path: string, request?: ApiRequest) =>
    authorized((token) => ask<T>(path, { ...request, token }))
  const post = (body?: object) => ({ method: 'POST', body })
  const asked = <T>(path: string, shape: Shape, body: object) =>
    signedIn<T>(path, { ...post(body), isAnswer: isShaped(shape) })
  const codes = async (path: string, body: object) =>
    (await asked<{ recovery_codes: string[] }>(path, shapes.recoveryCodes, body)).recovery_codes
  const end = (path = '') => signedIn<void>(`sessions/${path}`, { method: 'DELETE' })
  return {
    get: () => signedIn('', { isAnswer: isShaped(shapes.account) }),
    showConfirmation: (token) =>
      ask('show-confirmation/', { ...post({ token }), isAnswer: isShaped(shapes.confirmation) }),
    disownEmail: (token) => ask('disown-email/', post({ token })),
    confirmEmail: (token) => ask('confirm-email/', post({ token })),
    unsubscribe: (token) => api(`/api/unsubscribe/?token=${encodeURIComponent(token)}`, post()),
    resendConfirmation: () => signedIn('resend-confirmation/', post()),
    changeEmail: (change) => signedIn('change-email/', post(change)),
    changePassword: (change) => signedIn('change-password/', post(change)),
    forgotPassword: (email) => ask('forgot-password/', post({ email })),
    resetPassword: (reset) => ask('reset-password/', post(reset)),
    async sessions() {
      const isAnswer = isShaped(shapes.devices)
      return (await signedIn<{ results: SignedInDevice[] }>('sessions/', { isAnswer })).results
    },
    async events() {
      const isAnswer = isShaped(shapes.events)
      const path = 'events/?page_size=100'
      return (await signedIn<{ results: SecurityEvent[] }>(path, { isAnswer })).results
    },
    endSession: (id, { erase = false } = {}) => end(`${id}/${erase ? '?erase=true' : ''}`),
    endOtherSessions: () => end(),
    async personalTokens() {
      const isAnswer = isShaped(shapes.personalTokens)
      return (await signedIn<{ results: PersonalToken[] }>('tokens/', { isAnswer })).results
    },
    revokePersonalToken: (id) => signedIn(`tokens/${id}/`, { method: 'DELETE' }),
    delete: (password, factor) =>
      authorized(async (token) => {
        await ask('delete/', { ...post({ password, factor }), token })
        await onAccountDeleted(token)
      }),
    factors: () => signedIn('factors/', { isAnswer: isShaped(shapes.factors) }),
    newTotp: (owner) => asked('totp/', shapes.totp, owner),
    confirmTotp: (confirmation) => codes('totp/confirm/', confirmation),
    removeTotp: (owner) => signedIn('totp/remove/', post(owner)),
    async passkeys() {
      const isAnswer = isShaped(shapes.passkeys)
      return (await signedIn<{ results: Passkey[] }>('passkeys/', { isAnswer })).results
    },
    newPasskey: (owner) => asked('passkeys/begin/', shapes.publicKey, owner),
    confirmPasskey: (confirmation) => codes('passkeys/confirm/', confirmation),
    async renamePasskey(id, name) {
      const isAnswer = isShaped(shapes.passkey)
      await signedIn(`passkeys/${id}/`, { method: 'PATCH', body: { name }, isAnswer })
    },
    removePasskey: (id, owner) => signedIn(`passkeys/${id}/remove/`, post(owner)),
    newRecoveryCodes: (owner) => codes('recovery-codes/', owner),
    export: (format) =>
      signedIn(`export/${format === 'json' ? '' : `tasks.${format}`}`, {
        stream: MEDIA_TYPES[format],
      }),
  }
}

const MEDIA_TYPES = { json: 'application/json', csv: 'text/csv', ics: 'text/calendar' }
