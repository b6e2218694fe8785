import { createHmac, randomBytes } from 'node:crypto'
import { Problem, type Scope, type TokenPair } from '../../protocol/index.ts'
import type { Accounts, SigningIn } from './accounts.ts'
import { readPersonalToken } from './personal-tokens.ts'
import type { Caller, Sessions } from './sessions.ts'

/** So many passwords are remembered; beyond it, the one that was used longest ago is compared again. */
const MAX_REMEMBERED = 1_000

interface BasicCredentials {
  readonly username: string
  /** A password, or a personal token: then the username is not looked at. */
  readonly password: string
}

/**
 * Clients that send a username and a password with each request (RFC 7617). The first one signs in, as a device of
 * the person, and the following ones use its session: so the password is compared once, and whoever guesses waits as
 * at every other sign-in. Passwords are not kept, but a hash with a key that only this process knows.
 */
export function createBasicSignIn(
  accounts: Pick<Accounts, 'signIn'>,
  sessions: Pick<Sessions, 'authenticate' | 'renew'>,
) {
  const key = randomBytes(32)
  const remembered = new Map<string, Promise<TokenPair>>()

  /**
   * @throws Problem as `authenticate` and `signIn`; `factor_required` of an account with a second factor, which has to
   *   use a personal token
   */
  return async function basicSignIn(
    { username, password }: BasicCredentials,
    scopes: readonly Scope[] | undefined,
    signingIn: SigningIn,
  ): Promise<Caller> {
    if (isPersonalToken(password)) return sessions.authenticate(password, { scopes })
    const name = createHmac('sha256', key)
      .update(JSON.stringify([username, password]))
      .digest('hex')
    const known = remembered.get(name)
    if (known)
      try {
        return await withSession(name, await known)
      } catch (error) {
        if (!isOver(error)) throw error
      }
    const signedIn = remember(name, accounts.signIn(username, password, signingIn))
    return sessions.authenticate((await signedIn).access, { scopes })

    async function withSession(entry: string, pair: TokenPair): Promise<Caller> {
      try {
        return await sessions.authenticate(pair.access, { scopes })
      } catch (error) {
        if (!isOver(error)) throw error
      }
      const renewed = remember(entry, sessions.renew(pair.refresh, signingIn.origin))
      return sessions.authenticate((await renewed).access, { scopes })
    }
  }

  /** Requests that come meanwhile wait for the same. */
  function remember(name: string, pair: Promise<TokenPair>): Promise<TokenPair> {
    remembered.delete(name)
    remembered.set(name, pair)
    pair.catch(() => remembered.get(name) === pair && remembered.delete(name))
    for (const oldest of remembered.keys()) {
      if (remembered.size <= MAX_REMEMBERED) break
      remembered.delete(oldest)
    }
    return pair
  }
}

export type BasicSignIn = ReturnType<typeof createBasicSignIn>

/** Whether the session has ended, or its token has expired. */
const isOver = (error: unknown) => error instanceof Problem && error.code === 'token_not_valid'

function isPersonalToken(text: string): boolean {
  try {
    return readPersonalToken(text) !== undefined
  } catch {
    return true // one that is damaged, and is refused as such
  }
}
