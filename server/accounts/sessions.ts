import { v7 as uuidv7 } from 'uuid'
import { Problem, type Role, type SignedInDevice, type TokenPair } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { deviceOf } from './devices.ts'
import type { Events, Origin } from './events.ts'
import {
  type AccessClaims,
  accountDeleted,
  REFRESH_SECONDS,
  sessionEnded,
  TokenExpired,
  type Tokens,
} from './tokens.ts'

/** How long another node may use a session that has ended. */
const CACHE_MS = 1_000
const MAX_CACHED = 50_000
const MAX_CLAIMS = 20_000
const MAX_USER_AGENT = 300
/** The accuracy of `last_seen_at`. */
const SEEN_MS = 60_000
/** A script that signs in every minute has thousands of sessions. */
const MAX_LISTED = 200

const IS_LIVE = {
  name: 'session_is_live',
  text: `
    select u.role, s.last_seen_at < $4 from sessions s join users u on u.id = s.user_id
    where s.user_id = $1 and s.id = $2 and s.revoked_at is null and s.expires_at > $3
      and u.is_active`,
}

const ARE_LIVE = {
  name: 'sessions_are_live',
  text: `
    select s.id from unnest($1::uuid[], $2::uuid[]) as open (user_id, id)
    join sessions s on s.user_id = open.user_id and s.id = open.id
    join users u on u.id = s.user_id
    where s.revoked_at is null and s.expires_at > $3
      and u.is_active`,
}

const IS_DELETED = {
  name: 'account_is_deleted',
  text: 'select 1 from deleted_accounts where user_id = $1',
}

/** A signed-in user. */
export interface Caller extends AccessClaims {
  role: Role
}

interface Row {
  user_id: string
  generation: number
}

interface Listed {
  id: string
  user_agent: string
  created_at: Date
  last_seen_at: Date
}

/** Sessions of signed-in devices, and their tokens. */
export function createSessions(
  db: Database,
  tokens: Tokens,
  events: Events,
  now: () => Date,
  ended: (session: string) => void = () => {},
) {
  const cache = new Map<string, { user: string; until: number; role: Promise<Role | undefined> }>()
  const claims = new Map<string, AccessClaims>()

  return {
    /**
     * Starts a session on a device.
     *
     * @param passwordHash the hash that was compared. If the password changes during the comparison, no
     *   session may start
     * @throws Problem `credentials_not_valid` if the user has another hash by now
     */
    async open(user: string, { user_agent = '' }: Origin, passwordHash?: string) {
      const id = uuidv7()
      const moment = now()
      await db('sessions').where({ user_id: user }).andWhere('expires_at', '<', moment).delete()
      // Locks the user's row: ending all sessions changes that row first.
      const { rowCount } = await db.raw(OPEN, {
        id,
        user,
        password_hash: passwordHash ?? null,
        user_agent: user_agent.replaceAll('\0', '').slice(0, MAX_USER_AGENT),
        moment,
        expires_at: inSeconds(moment, REFRESH_SECONDS),
      })
      if (rowCount === 0) throw new Problem('credentials_not_valid', NO_SUCH_ACCOUNT)
      return pair(user, id, 1)
    },

    /**
     * The caller with this access token.
     *
     * @throws Problem `token_not_valid`: forged, expired, or its session has ended;
     *   `account_deleted`: the user has deleted the account
     */
    async authenticate(token: string): Promise<Caller> {
      let known = claims.get(token)
      if (!known || known.expires * 1000 <= now().getTime()) {
        known = await checked(tokens.checkAccess(token))
        if (claims.size >= MAX_CLAIMS) claims.clear()
        claims.set(token, known)
      }
      const role = await roleIn(known)
      if (!role) throw await hasEnded(known.user)
      return { ...known, role }
    },

    /**
     * Refreshes the tokens of a session. The token of the previous generation can be used again, because
     * the response may have been lost: it returns the same successor. An older token means that somebody
     * else has a copy, so it ends the session.
     *
     * @throws Problem `token_not_valid`, `account_deleted`
     */
    async renew(refresh: string): Promise<TokenPair> {
      const { session, user, generation } = await checked(tokens.checkRefresh(refresh))
      const moment = now()
      const [renewed] = await live(user, session)
        .andWhere({ generation })
        .update({
          generation: generation + 1,
          last_seen_at: moment,
          expires_at: inSeconds(moment, REFRESH_SECONDS),
        })
        .returning<Row[]>(['user_id', 'generation'])
      if (renewed) return pair(user, session, renewed.generation)

      const found = await live(user, session).first<Row | undefined>('generation')
      if (found?.generation === generation + 1) return pair(user, session, found.generation)
      if (found) await end(user, session)
      throw await hasEnded(user)
    },

    /**
     * Checks a token of either kind.
     *
     * @throws Problem `token_not_valid`, `account_deleted`
     */
    async verify(token: string): Promise<void> {
      const { session, user, generation } = await checked(tokens.checkAny(token))
      const found = await live(user, session).first<Row | undefined>('generation')
      // An access token has no generation; the last two refresh tokens are valid.
      if (!found || (generation ?? found.generation) < found.generation - 1)
        throw await hasEnded(user)
    },

    /** The active sessions of a user, the most recently used first. */
    async list(user: string, current: string): Promise<SignedInDevice[]> {
      const rows = await db('sessions')
        .where({ user_id: user, revoked_at: null })
        .andWhere('expires_at', '>', now())
        .orderBy([
          { column: 'last_seen_at', order: 'desc' },
          { column: 'id', order: 'desc' },
        ])
        .limit(MAX_LISTED)
        .select<Listed[]>('id', 'user_agent', 'created_at', 'last_seen_at')
      return rows.map(({ id, user_agent, created_at, last_seen_at }) => ({
        id,
        user_agent,
        device: deviceOf(user_agent),
        created_at: created_at.toISOString(),
        last_seen_at: last_seen_at.toISOString(),
        current: id === current,
      }))
    },

    /** Ends one of a user's sessions. @returns whether there was one with this id */
    async endOne(user: string, id: string, origin: Origin): Promise<boolean> {
      const rows = await db('sessions')
        .where({ id, user_id: user, revoked_at: null })
        .andWhere('expires_at', '>', now())
        .update({ revoked_at: now() })
        .returning('id')
      if (rows.length === 0) return false
      forget(id)
      await events.recordIfPossible({ user, kind: 'session_ended', origin })
      return true
    },

    /** The active ones of these sessions, given with their users, without the cache. */
    async stillLive(users: ReadonlyMap<string, string>): Promise<Set<string>> {
      const values = [[...users.values()], [...users.keys()], now()]
      const rows = await run<[string]>(db, ARE_LIVE, values)
      return new Set(rows.map(([id]) => id))
    },

    /** Ends all sessions of a user, or all but one. */
    async signOut(user: string, origin: Origin, except?: string): Promise<void> {
      announceEnd(await endAll(db, user, except))
      const details = { sessions: except === undefined ? 'all' : 'others' }
      await events.recordIfPossible({ user, kind: 'session_ended', origin, details })
    },

    endAll,
    announceEnd,

    /** Clears the cached role of a user on this node. Other nodes use the old one for up to a second. */
    forgetRole(user: string): void {
      for (const [session, entry] of cache) if (entry.user === user) cache.delete(session)
    },

    /** Ends the session of this refresh token. Idempotent. */
    async close(refresh: string, origin: Origin): Promise<void> {
      const { session, user } = await checked(tokens.checkRefresh(refresh))
      if (await isDeleted(user)) throw accountDeleted()
      if (await end(user, session))
        await events.recordIfPossible({ user, kind: 'sign_out', origin })
    },
  }

  async function pair(user: string, session: string, generation: number) {
    const [access, refresh] = await Promise.all([
      tokens.access(user, session),
      tokens.refresh(user, session, generation),
    ])
    return { access, refresh }
  }

  function live(user: string, session: string) {
    return db('sessions')
      .where({ user_id: user, id: session, revoked_at: null })
      .andWhere('expires_at', '>', now())
      .whereExists(
        db('users').select(db.raw('1')).whereRaw('users.id = sessions.user_id and is_active'),
      )
  }

  /**
   * Ends the sessions of a user, or all but one, in the caller's transaction.
   *
   * @returns their ids, for `announceEnd` once that is committed
   */
  async function endAll(trx: Database, user: string, except?: string): Promise<string[]> {
    const rows = await trx('sessions')
      .where({ user_id: user, revoked_at: null })
      .modify((query) => except && query.whereNot({ id: except }))
      .update({ revoked_at: now() })
      .returning<{ id: string }[]>('id')
    return rows.map(({ id }) => id)
  }

  /** Closes open connections of ended sessions, on every node. */
  function announceEnd(sessions: readonly string[]): void {
    for (const session of sessions) forget(session)
  }

  /** @returns whether it was active */
  async function end(user: string, session: string): Promise<boolean> {
    const ended = await db('sessions')
      .where({ user_id: user, id: session, revoked_at: null })
      .update({ revoked_at: now() })
    forget(session)
    return ended > 0
  }

  function forget(session: string): void {
    cache.delete(session)
    ended(session)
  }

  /**
   * The role of the session's user; undefined if the session has ended. Cached for a second, so the
   * database gets at most one query per second and session.
   */
  function roleIn({ user, session }: AccessClaims): Promise<Role | undefined> {
    const moment = performance.now()
    const entry = cache.get(session)
    if (entry && entry.until > moment) return entry.role
    if (cache.size >= MAX_CACHED) cache.clear()
    const answer = lookUp(user, session)
    cache.set(session, { user, until: moment + CACHE_MS, role: answer })
    answer.catch(() => cache.delete(session))
    return answer
  }

  async function lookUp(user: string, session: string): Promise<Role | undefined> {
    const moment = now()
    const lately = new Date(moment.getTime() - SEEN_MS)
    const [row] = await run<[Role, boolean]>(db, IS_LIVE, [user, session, moment, lately])
    if (row?.[1])
      db('sessions')
        .where({ user_id: user, id: session })
        .andWhere('last_seen_at', '<', lately) // unless another node has just done it
        .update({ last_seen_at: moment })
        .catch(() => {}) // not essential; the next lookup does it
    return row?.[0]
  }

  /** Turns `token_not_valid` into `account_deleted` if the account was deleted. */
  async function checked<T>(check: Promise<T>): Promise<T> {
    try {
      return await check
    } catch (error) {
      if (error instanceof TokenExpired && (await isDeleted(error.user))) throw accountDeleted()
      throw error
    }
  }

  async function hasEnded(user: string): Promise<Problem> {
    return (await isDeleted(user)) ? accountDeleted() : sessionEnded()
  }

  /**
   * Devices delete all their data on this, unsent edits included. So it requires a record of the
   * deletion: a missing user may be an operator's mistake.
   */
  async function isDeleted(user: string): Promise<boolean> {
    return (await run(db, IS_DELETED, [user])).length > 0
  }
}

export type Sessions = ReturnType<typeof createSessions>

export const NO_SUCH_ACCOUNT = 'No active account has this username and password; check both.'

const OPEN = `
  insert into sessions (id, user_id, user_agent, created_at, last_seen_at, expires_at)
  select :id, u.id, :user_agent, :moment, :moment, :expires_at from users u
  where u.id = :user and u.is_active
    and u.password_hash = coalesce(:password_hash, u.password_hash)
  for share of u`

const inSeconds = (moment: Date, seconds: number) => new Date(moment.getTime() + seconds * 1000)
