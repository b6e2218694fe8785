import { v7 as uuidv7 } from 'uuid'
import { Problem, type Role, type SignedInDevice, type TokenPair } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { deviceOf } from './devices.ts'
import {
  type AccessClaims,
  accountDeleted,
  REFRESH_SECONDS,
  sessionEnded,
  TokenExpired,
  type Tokens,
} from './tokens.ts'

/** How long another node may go on believing in a session that has ended. */
const BELIEF_MS = 1_000
const MAX_BELIEFS = 50_000
const MAX_CLAIMS = 20_000
const MAX_USER_AGENT = 300
/** How exactly it is known when a device was last heard of. */
const SEEN_MS = 60_000
/** A script that signs in every minute has thousands. */
const MAX_LISTED = 200

const IS_LIVE = {
  name: 'session_is_live',
  text: `
    select u.role, s.last_seen_at < $3 from sessions s join users u on u.id = s.user_id
    where s.id = $1 and s.revoked_at is null and s.expires_at > $2
      and u.is_active`,
}

const ARE_LIVE = {
  name: 'sessions_are_live',
  text: `
    select s.id from sessions s join users u on u.id = s.user_id
    where s.id = any ($1::uuid[]) and s.revoked_at is null and s.expires_at > $2
      and u.is_active`,
}

const IS_DELETED = {
  name: 'account_is_deleted',
  text: 'select 1 from deleted_accounts where user_id = $1',
}

/** Somebody who is signed in. */
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

/** The signed-in devices, and the tokens that they hold. */
export function createSessions(
  db: Database,
  tokens: Tokens,
  now: () => Date,
  ended: (session: string) => void = () => {},
) {
  const beliefs = new Map<
    string,
    { user: string; until: number; role: Promise<Role | undefined> }
  >()
  const claims = new Map<string, AccessClaims>()

  return {
    /**
     * Starts a session on a device.
     *
     * @param passwordHash of the password that was shown: comparing takes a while, and who changes it
     *   meanwhile means to end all sessions, this one too
     * @throws Problem `credentials_not_valid` when that is not the user's hash any more
     */
    async open(user: string, userAgent: string, passwordHash?: string): Promise<TokenPair> {
      const id = uuidv7()
      const moment = now()
      await db('sessions').where({ user_id: user }).andWhere('expires_at', '<', moment).delete()
      // Locks the user's row: whoever ends all sessions has changed that row first.
      const { rowCount } = await db.raw(OPEN, {
        id,
        user,
        password_hash: passwordHash ?? null,
        user_agent: userAgent.replaceAll('\0', '').slice(0, MAX_USER_AGENT),
        moment,
        expires_at: inSeconds(moment, REFRESH_SECONDS),
      })
      if (rowCount === 0) throw new Problem('credentials_not_valid', NO_SUCH_ACCOUNT)
      return pair(user, id, 1)
    },

    /**
     * Whose access token this is.
     *
     * @throws Problem `token_not_valid`: forged, expired, or its session has ended;
     *   `account_deleted`: its owner has deleted the account
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
     * Renews a session. The token of the generation before the current one may be used again,
     * because the answer with its successor may have been lost: it buys that same successor. An
     * older one has been renewed twice, so somebody else holds a copy: the session ends.
     *
     * @throws Problem `token_not_valid`, `account_deleted`
     */
    async renew(refresh: string): Promise<TokenPair> {
      const { session, user, generation } = await checked(tokens.checkRefresh(refresh))
      const moment = now()
      const [renewed] = await live(session)
        .andWhere({ generation })
        .update({
          generation: generation + 1,
          last_seen_at: moment,
          expires_at: inSeconds(moment, REFRESH_SECONDS),
        })
        .returning<Row[]>(['user_id', 'generation'])
      if (renewed) return pair(user, session, renewed.generation)

      const found = await live(session).first<Row | undefined>('generation')
      if (found?.generation === generation + 1) return pair(user, session, found.generation)
      if (found) await end(session)
      throw await hasEnded(user)
    },

    /**
     * Whether this token, of either kind, would be taken now.
     *
     * @throws Problem `token_not_valid`, `account_deleted`
     */
    async verify(token: string): Promise<void> {
      const { session, user, generation } = await checked(tokens.checkAny(token))
      const found = await live(session).first<Row | undefined>('generation')
      // An access token has no generation; of refresh tokens the last two are taken.
      if (!found || (generation ?? found.generation) < found.generation - 1)
        throw await hasEnded(user)
    },

    /** Those that a person has, the one used last first. Those that have ended are not among them. */
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

    /** Ends one of a person's sessions. @returns whether there was one of this id to end */
    async endOne(user: string, id: string): Promise<boolean> {
      const rows = await db('sessions')
        .where({ id, user_id: user, revoked_at: null })
        .andWhere('expires_at', '>', now())
        .update({ revoked_at: now() })
        .returning('id')
      if (rows.length === 0) return false
      forget(id)
      return true
    },

    /** Those of the sessions that are still good, whatever was believed of them. */
    async stillLive(ids: readonly string[]): Promise<Set<string>> {
      const rows = await run<[string]>(db, ARE_LIVE, [ids, now()])
      return new Set(rows.map(([id]) => id))
    },

    /** Ends all sessions of a person, or all but one. */
    async signOut(user: string, except?: string): Promise<void> {
      announceEnd(await endAll(db, user, except))
    },

    endAll,
    announceEnd,

    /** Has a person's role looked up anew on this node; others believe the old one for a second. */
    reconsider(user: string): void {
      for (const [session, belief] of beliefs) if (belief.user === user) beliefs.delete(session)
    },

    /** Ends the session of this refresh token; ending it again is no fault. */
    async close(refresh: string): Promise<void> {
      const { session, user } = await checked(tokens.checkRefresh(refresh))
      if (await isDeleted(user)) throw accountDeleted()
      await end(session)
    },
  }

  async function pair(user: string, session: string, generation: number) {
    const [access, refresh] = await Promise.all([
      tokens.access(user, session),
      tokens.refresh(user, session, generation),
    ])
    return { access, refresh }
  }

  function live(session: string) {
    return db('sessions')
      .where({ id: session, revoked_at: null })
      .andWhere('expires_at', '>', now())
      .whereExists(
        db('users').select(db.raw('1')).whereRaw('users.id = sessions.user_id and is_active'),
      )
  }

  /**
   * Ends the sessions of a person, or all but one, as part of the caller's transaction.
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

  /** Cuts what is still open of sessions that have ended, on every node. */
  function announceEnd(sessions: readonly string[]): void {
    for (const session of sessions) forget(session)
  }

  async function end(session: string): Promise<void> {
    await db('sessions').where({ id: session, revoked_at: null }).update({ revoked_at: now() })
    forget(session)
  }

  function forget(session: string): void {
    beliefs.delete(session)
    ended(session)
  }

  /**
   * The role of whoever's session it is; undefined once it has ended. Asked of the database once a
   * second for each session in use, however many requests it makes.
   */
  function roleIn({ user, session }: AccessClaims): Promise<Role | undefined> {
    const moment = performance.now()
    const belief = beliefs.get(session)
    if (belief && belief.until > moment) return belief.role
    if (beliefs.size >= MAX_BELIEFS) beliefs.clear()
    const answer = look(session)
    beliefs.set(session, { user, until: moment + BELIEF_MS, role: answer })
    answer.catch(() => beliefs.delete(session))
    return answer
  }

  async function look(session: string): Promise<Role | undefined> {
    const moment = now()
    const lately = new Date(moment.getTime() - SEEN_MS)
    const [row] = await run<[Role, boolean]>(db, IS_LIVE, [session, moment, lately])
    if (row?.[1])
      db('sessions')
        .where({ id: session })
        .andWhere('last_seen_at', '<', lately) // and not meanwhile by another node
        .update({ last_seen_at: moment })
        .catch(() => {}) // nobody waits for it, and the next look does it
    return row?.[0]
  }

  /** A token that is refused may be of a deleted account, which is more than that. */
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
   * Devices wipe at this, what they have not sent included. So it takes a deed of the owner's: that
   * this database does not know somebody may be an operator's slip.
   */
  async function isDeleted(user: string): Promise<boolean> {
    return (await run(db, IS_DELETED, [user])).length > 0
  }
}

export type Sessions = ReturnType<typeof createSessions>

export const NO_SUCH_ACCOUNT = 'No active account has this name and password.'

const OPEN = `
  insert into sessions (id, user_id, user_agent, created_at, last_seen_at, expires_at)
  select :id, u.id, :user_agent, :moment, :moment, :expires_at from users u
  where u.id = :user and u.is_active
    and u.password_hash = coalesce(:password_hash, u.password_hash)
  for share of u`

const inSeconds = (moment: Date, seconds: number) => new Date(moment.getTime() + seconds * 1000)
