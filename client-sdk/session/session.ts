import { BehaviorSubject } from 'rxjs'
import { DEVICE_HEADER } from '../../protocol/headers.ts'
import { shapes } from '../local/shapes.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api } from '../runtime/api.ts'
import { ClientError, signedOut } from '../runtime/client-error.ts'
import { exclusively } from '../runtime/environment.ts'
import type { FactorProof } from '../runtime/factors.ts'
import type { StoredSession, TokenStore, User } from './token-store.ts'

/** An access token with less time left is refreshed before use. */
export const RENEW_AHEAD_MS = 60_000

interface TokenPair {
  access: string
  refresh: string
  /** At a sign-in: what tells the next one that this device is no stranger. */
  device?: string
  username?: string
}

export interface Credentials {
  username: string
  password: string
}

/** The session of this device. It survives network failures and restarts of the app. */
export class Session {
  /** The user with documents on this device; the session may have ended. */
  readonly kept$ = new BehaviorSubject<StoredSession | undefined>(undefined)
  private readonly store: TokenStore
  private readonly api: Api
  private readonly now: () => number
  private readonly name: string
  private renewal: Promise<string> | undefined

  constructor(store: TokenStore, api: Api, now: () => number, name: string) {
    this.store = store
    this.api = api
    this.now = now
    this.name = name
  }

  /** Needs no network. */
  async load(): Promise<StoredSession | undefined> {
    const kept = await this.store.read()
    this.kept$.next(kept)
    return kept
  }

  async signIn({ username, password }: Credentials): Promise<StoredSession> {
    const body = { username, password }
    const marks = await this.store.marks()
    const headers: Record<string, string> =
      marks.length > 0 ? { [DEVICE_HEADER]: marks.join(',') } : {}
    const request = { method: 'POST', body, headers, isAnswer: isTokenPair }
    const pair = await this.api<TokenPair>('/api/token/', request)
    // As entered, it may be an address.
    return this.keep({ id: claimsOf(pair.access).sub, username: pair.username ?? username }, pair)
  }

  /** @param username as for `signIn`; without it, it is asked for */
  async confirmFactor(body: FactorProof, username?: string): Promise<StoredSession> {
    const request = { method: 'POST', body, isAnswer: isTokenPair }
    const pair = await this.api<TokenPair>('/api/token/factor/', request)
    const { access: token } = pair
    const isAnswer = isShaped(shapes.account)
    const named = pair.username ?? username
    const account = named
      ? { username: named }
      : await this.api<User>('/api/account/', { token, isAnswer })
    return this.keep({ id: claimsOf(token).sub, username: account.username }, pair)
  }

  /** Needs no network: `SignOuts` notifies the server. */
  async forget(wipe?: string): Promise<void> {
    await this.store.forget(wipe)
    this.kept$.next(undefined)
  }

  /**
   * A valid access token of this user. Checks the user, because another tab may have signed in somebody
   * else while this one was frozen.
   *
   * @param refused a token that the server has rejected before its expiry
   * @throws ClientError `signed_out`; or `unreachable` and the like, which do not end the session
   */
  async token(user: string, refused?: string): Promise<string> {
    const known = this.kept$.value
    // From memory, because reads of the storage wait for the writes of a sync.
    if (known?.user.id === user && this.isGood(known, refused)) return known.access
    const kept = await this.store.read()
    if (!kept || kept.ended || kept.user.id !== user) throw this.over(kept)
    if (kept.access !== this.kept$.value?.access) this.kept$.next(kept)
    if (this.isGood(kept, refused)) return kept.access
    this.renewal ??= exclusively(`${this.name} token`, () => this.renew(refused)).finally(() => {
      this.renewal = undefined
    })
    const access = await this.renewal
    if (claimsOf(access).sub !== user) throw signedOut()
    return access
  }

  private async renew(refused: string | undefined): Promise<string> {
    // Another tab may have refreshed it in the meantime.
    const kept = await this.store.read()
    if (!kept || kept.ended) throw this.over(kept)
    if (this.isGood(kept, refused)) return kept.access
    const body = { refresh: kept.refresh }
    const request = { method: 'POST', body, isAnswer: isTokenPair }
    try {
      // If this response is lost, the same refresh token can be used again.
      const pair = await this.api<TokenPair>('/api/token/refresh/', request)
      const latest = await this.store.read()
      if (latest?.refresh === kept.refresh) return (await this.keep(kept.user, pair)).access
      // Signed out or in again in the meantime.
      if (!latest || latest.ended) throw this.over(latest)
      return latest.access
    } catch (error) {
      if (!(error instanceof ClientError && error.code === 'token_not_valid')) throw error
      // The client deletes this session and all its data, so nothing is written here.
      if (error.erase) throw error
      const latest = await this.store.read()
      if (latest && latest.refresh !== kept.refresh) return latest.access
      const ended = { ...kept, ended: true }
      await this.store.write(ended)
      throw this.over(ended)
    }
  }

  private isGood({ access, ended, expires_at }: StoredSession, refused?: string): boolean {
    return !ended && access !== refused && expires_at - this.now() > RENEW_AHEAD_MS
  }

  private async keep(user: User, { access, refresh, device }: TokenPair): Promise<StoredSession> {
    // By lifetime, because the clocks of device and server may differ.
    const { exp, iat } = claimsOf(access)
    const expires_at = this.now() + (exp - iat) * 1000
    const session = { user, access, refresh, expires_at, ended: false }
    await this.store.write(session, device)
    this.kept$.next(session)
    return session
  }

  private over(kept: StoredSession | undefined): ClientError {
    this.kept$.next(kept)
    return signedOut()
  }
}

interface Claims {
  sub: string
  sid: string
  iat: number
  exp: number
}

function isTokenPair(body: unknown): boolean {
  const { access, refresh } = Object(body) as Partial<TokenPair>
  try {
    return isClaims(claimsOf(access!)) && isClaims(claimsOf(refresh!))
  } catch {
    return false
  }
}

const isClaims = isShaped({ fields: { sub: 'string', iat: 'number', exp: 'number' } })

/** The claims of a token. */
export function claimsOf(token: string): Claims {
  const payload = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/')
  return JSON.parse(atob(payload))
}
