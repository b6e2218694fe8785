import { createHash, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'
import { Problem } from '../../protocol/index.ts'
import type { Secrets } from './secrets.ts'

export const ACCESS_SECONDS = 15 * 60
export const REFRESH_SECONDS = 30 * 24 * 60 * 60

const ALGORITHM = 'HS256'
const ISSUER = 'tasktide'
const AUDIENCE = 'tasktide'
/** The `typ` of each kind of token (RFC 8725, 3.11), so that one cannot be used as the other. */
const TYPES = { access: 'at+jwt', refresh: 'refresh+jwt' } as const

export interface Claims {
  user: string
  session: string
  /** Seconds since 1970. */
  expires: number
  /** Of the refresh token that it came with. 0: a node of the release before has issued it. */
  generation: number
}

/**
 * Signs and verifies tokens. A token names its key, so the key can be rotated without signing anybody
 * out: the previous key (SECRET_KEY_PREVIOUS) verifies until the last of its tokens has expired.
 */
export function createTokens(secrets: Secrets, now: () => Date) {
  const [current, ...former] = secrets.map(deriveKey) as [Key, ...Key[]]
  const keys = new Map([current, ...former])
  const [currentId, currentKey] = current

  return {
    access: (user: string, session: string, generation: number) =>
      sign(TYPES.access, { sub: user, sid: session, gen: generation }, ACCESS_SECONDS),

    /** @param seconds its lifetime */
    refresh: (user: string, session: string, generation: number, seconds: number) =>
      sign(TYPES.refresh, { sub: user, sid: session, gen: generation }, seconds),

    /** @throws Problem `token_not_valid` */
    async checkAccess(token: string): Promise<Claims> {
      return await check(token, [TYPES.access])
    },

    /** @throws Problem `token_not_valid` */
    async checkRefresh(token: string): Promise<Claims> {
      return await check(token, [TYPES.refresh])
    },

    /** Either of the two. @throws Problem `token_not_valid` */
    async checkAny(token: string): Promise<Claims & { isRefresh: boolean }> {
      return await check(token, Object.values(TYPES))
    },
  }

  function sign(typ: string, claims: Record<string, unknown>, seconds: number) {
    const issuedAt = Math.floor(now().getTime() / 1000)
    return new SignJWT(claims)
      .setProtectedHeader({ alg: ALGORITHM, typ, kid: currentId })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + seconds)
      .sign(currentKey)
  }

  async function check(token: string, types: readonly unknown[]) {
    try {
      const { payload, protectedHeader } = await jwtVerify(
        token,
        ({ kid }) => {
          const key = keys.get(kid ?? '')
          if (!key) throw new errors.JWKSNoMatchingKey()
          return key
        },
        {
          algorithms: [ALGORITHM],
          issuer: ISSUER,
          audience: AUDIENCE,
          currentDate: now(),
          requiredClaims: ['sub', 'sid', 'iat', 'exp'],
        },
      )
      if (!types.includes(protectedHeader.typ)) throw new WrongType(protectedHeader.typ)
      return {
        user: String(payload.sub),
        session: String(payload.sid),
        expires: payload.exp!,
        generation: typeof payload.gen === 'number' ? payload.gen : 0,
        isRefresh: protectedHeader.typ === TYPES.refresh,
      }
    } catch (error) {
      if (error instanceof errors.JWTExpired)
        throw new TokenExpired(String(error.payload.sub), String(error.payload.sid))
      throw tokenNotValid(explain(error))
    }
  }
}

/** A token of this server that has expired. */
export class TokenExpired extends Problem {
  readonly user: string
  readonly session: string

  constructor(user: string, session: string) {
    super('token_not_valid', 'The token has expired; refresh it, or sign in again.')
    this.user = user
    this.session = session
  }
}

class WrongType extends Error {
  readonly type: unknown
  constructor(type: unknown) {
    super()
    this.type = type
  }
}

function explain(error: unknown): string {
  if (error instanceof WrongType && error.type === TYPES.refresh)
    return 'This is a refresh token; send the access token.'
  if (error instanceof WrongType && error.type === TYPES.access)
    return 'This is an access token; send the refresh token.'
  return 'The token is not valid for this server; sign in again.'
}

export type Tokens = ReturnType<typeof createTokens>

export function tokenNotValid(detail: string): Problem {
  return new Problem('token_not_valid', detail)
}

/** Also for a missing account; `Sessions` reports a deleted one. */
export const sessionEnded = () => tokenNotValid('The session has ended; sign in again.')

/** Tells a device that its owner has erased it. Clients that do not know `erase` are signed out. */
export function sessionErased(): Problem {
  const detail =
    'The owner has signed out and erased this device; delete the data of the account on it.'
  return new Problem('token_not_valid', detail, { erase: true })
}

/** Tells a device to delete its local data of this account. */
export function accountDeleted(): Problem {
  return new Problem(
    'account_deleted',
    'The account has been deleted; delete its data on this device.',
  )
}

type Key = [id: string, key: KeyObject]

function deriveKey(secret: string): Key {
  const bytes = Buffer.from(hkdfSync('sha256', secret, '', 'tasktide tokens', 32))
  const id = createHash('sha256').update(bytes).digest('base64url').slice(0, 8)
  return [id, createSecretKey(bytes)]
}
