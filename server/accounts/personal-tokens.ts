import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { parse, stringify, v7 as uuidv7 } from 'uuid'
import {
  type CreatedPersonalToken,
  invalid,
  type NewPersonalToken,
  type PersonalToken,
  type Scope,
} from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Events, Origin } from './events.ts'
import { lockOwnerBy, type Owner } from './owners.ts'
import type { Sessions } from './sessions.ts'
import { type Claims, tokenNotValid } from './tokens.ts'

/** Found by scanners for secrets in public code. */
const PREFIX = 'tasktide_'
const ID_BYTES = 16
const SECRET_BYTES = 32
const MOST = 50
/** The end of a token that does not expire, and the last use of one that was never used. */
const NEVER = { expires: new Date('9999-12-31T00:00:00.000Z'), used: new Date(0) }

interface Row {
  id: string
  token_name: string
  scopes: Scope[]
  created_at: Date
  last_seen_at: Date
  expires_at: Date
}

/**
 * Tokens of scripts. Each is a session with a hash of its secret, so that it ends on every node as sessions do,
 * with its sockets and streams, and when the password changes.
 */
export function createPersonalTokens(
  db: Database,
  {
    sessions,
    events,
    now,
  }: { sessions: Pick<Sessions, 'endOne'>; events: Events; now: () => Date },
) {
  const active = (trx: Database, user: string) =>
    trx('sessions')
      .where({ user_id: user, revoked_at: null })
      .whereNotNull('token_hash')
      .andWhere('expires_at', '>', now())

  return {
    /** @throws Problem `invalid` if there are too many, or it would have ended already */
    async create(
      owner: Owner,
      { name, scopes, expires_at }: Pick<NewPersonalToken, 'name' | 'scopes' | 'expires_at'>,
      origin: Origin,
    ): Promise<CreatedPersonalToken> {
      const moment = now()
      const expires = expires_at ? new Date(expires_at) : NEVER.expires
      if (expires <= moment || expires > NEVER.expires)
        throw invalid('body', { expires_at: ['Use a time in the future, or null for no end.'] })
      const secret = randomBytes(SECRET_BYTES)
      const row = {
        id: uuidv7(),
        token_name: name,
        scopes,
        created_at: moment,
        last_seen_at: NEVER.used,
        expires_at: expires,
      }
      await db.transaction(async (trx) => {
        // Whoever changes the password ends all tokens: after this one, or before and it is refused.
        await lockOwnerBy(trx, owner)
        const [{ count } = { count: '0' }] = await active(trx, owner.id).count<
          { count: string }[]
        >()
        if (Number(count) >= MOST)
          throw invalid('body', {
            '': [`You have ${MOST} tokens; revoke one that you do not use.`],
          })
        await trx('sessions').insert({ ...row, user_id: owner.id, token_hash: hashOf(secret) })
        const details = { scopes: scopes.join(' ') }
        await events.record(trx, { user: owner.id, kind: 'token_created', origin, details })
      })
      const bytes = Buffer.concat([parse(owner.id), parse(row.id), secret])
      return { ...inJson(row), token: PREFIX + bytes.toString('base64url') }
    },

    /** The active ones, the newest first. */
    async list(user: string): Promise<PersonalToken[]> {
      const rows = await active(db, user)
        .orderBy('id', 'desc')
        .select<Row[]>('id', 'token_name', 'scopes', 'created_at', 'last_seen_at', 'expires_at')
      return rows.map(inJson)
    },

    /** @returns whether there was one with this id */
    async revoke(user: string, id: string, origin: Origin): Promise<boolean> {
      if (!(await active(db, user).andWhere({ id }).first('id'))) return false
      return sessions.endOne(user, id, origin, { token: 'personal' })
    },
  }
}

export type PersonalTokens = ReturnType<typeof createPersonalTokens>

/** What a personal token says of itself; it is checked with the hash of its session. */
export interface PersonalClaims extends Pick<Claims, 'user' | 'session' | 'generation'> {
  readonly secretHash: Buffer
}

/** @returns undefined if this is a token of another kind @throws Problem `token_not_valid` */
export function readPersonalToken(token: string): PersonalClaims | undefined {
  if (!token.startsWith(PREFIX)) return undefined
  const bytes = Buffer.from(token.slice(PREFIX.length), 'base64url')
  if (bytes.length !== 2 * ID_BYTES + SECRET_BYTES) throw personalTokenNotValid()
  return {
    user: stringified(bytes.subarray(0, ID_BYTES)),
    session: stringified(bytes.subarray(ID_BYTES, 2 * ID_BYTES)),
    generation: 0,
    secretHash: hashOf(bytes.subarray(2 * ID_BYTES)),
  }
}

/** Whether the session has this secret; one of a device has none. */
export function hasSecret(stored: Buffer | null, { secretHash }: PersonalClaims): boolean {
  return stored !== null && timingSafeEqual(stored, secretHash)
}

/** Says nothing of the account: whoever has an old or a forged token learns nothing. */
export function personalTokenNotValid() {
  return tokenNotValid('The personal token is wrong, revoked or expired; create another one.')
}

/** The secret is random, so no slow hash is needed. */
const hashOf = (secret: Uint8Array) => createHash('sha256').update(secret).digest()

function stringified(bytes: Uint8Array): string {
  try {
    return stringify(bytes)
  } catch {
    throw personalTokenNotValid()
  }
}

function inJson({ id, token_name, scopes, created_at, last_seen_at, expires_at }: Row) {
  return {
    id,
    name: token_name,
    scopes,
    created_at: created_at.toISOString(),
    last_used_at: last_seen_at > NEVER.used ? last_seen_at.toISOString() : null,
    expires_at: expires_at < NEVER.expires ? expires_at.toISOString() : null,
  }
}
