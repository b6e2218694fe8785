import { v7 as uuidv7 } from 'uuid'
import {
  Problem,
  type Role,
  type Scope,
  type SignedInDevice,
  type TokenPair,
} from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { post } from '../mail/outbox.ts'
import { deviceOf } from './devices.ts'
import type { Events, Origin } from './events.ts'
import { addressToNotify } from './mail-allowance.ts'
import { lockOwner } from './owners.ts'
import { requireScopes } from './permissions.ts'
import {
  hasSecret,
  type PersonalClaims,
  personalTokenNotValid,
  readPersonalToken,
} from './personal-tokens.ts'
import { createRenewals, type Renewed } from './renewals.ts'
import { createStandings } from './standings.ts'
import {
  accountDeleted,
  type Claims,
  sessionEnded,
  sessionErased,
  TokenExpired,
  type Tokens,
} from './tokens.ts'

const MAX_CLAIMS = 20_000
const MAX_USER_AGENT = 300
/** How long a device that is offline can be erased: it deletes its data when it comes back. */
const ERASED_MS = 2 * 365 * 24 * 60 * 60_000
/** A script that signs in every minute has thousands of sessions. */
const MAX_LISTED = 200

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

const IS_ERASED = {
  name: 'session_is_erased',
  text: 'select 1 from sessions where user_id = $1 and id = $2 and erased_at is not null',
}

/** A signed-in user. */
export interface Caller extends Claims {
  role: Role
  /** Whether the limits of an unconfirmed account hold. */
  isLimited: boolean
  /** Of a personal token; undefined for a device. */
  scopes?: readonly Scope[]
}

interface Listed {
  id: string
  user_agent: string
  created_at: Date
  last_seen_at: Date
}

interface SessionOptions {
  now: () => Date
  /** The absolute lifetime of a session. */
  sessionDays: number
  /** The roles that require a second factor. */
  factorRoles?: readonly Role[]
  limitsUnconfirmed?: boolean
  /** Told of each session that ends. */
  ended?: (session: string) => void
}

/** Sessions of signed-in devices, and their tokens. */
export function createSessions(
  db: Database,
  tokens: Tokens,
  events: Events,
  {
    now,
    sessionDays,
    factorRoles = [],
    limitsUnconfirmed = false,
    ended = () => {},
  }: SessionOptions,
) {
  const renewals = createRenewals(db, live, { sessionDays, now })
  const standings = createStandings(db, { now, factorRoles, limitsUnconfirmed })
  const claims = new Map<string, Claims>()

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
      const erasedBefore = new Date(moment.getTime() - ERASED_MS)
      await db('sessions')
        .where({ user_id: user })
        .andWhere('expires_at', '<', moment)
        .andWhereRaw('(erased_at is null or erased_at < ?)', [erasedBefore])
        .delete()
      const expires_at = renewals.firstEnd(moment)
      // Locks the user's row: ending all sessions changes that row first.
      const { rowCount } = await db.raw(OPEN, {
        id,
        user,
        password_hash: passwordHash ?? null,
        user_agent: user_agent.replaceAll('\0', '').slice(0, MAX_USER_AGENT),
        moment,
        expires_at,
      })
      if (rowCount === 0) throw new Problem('credentials_not_valid', NO_SUCH_ACCOUNT)
      return pair(user, id, { generation: 1, expires_at })
    },

    /**
     * The caller with this access token.
     *
     * @throws Problem `token_not_valid`: forged, expired, or its session has ended;
     *   `account_deleted`: the user has deleted the account; `factor_setup_required`: the role of the
     *   user requires a second factor, and the account has none (`toSetUp` for what sets one up);
     *   `forbidden`: a personal token that lacks one of the scopes. Without scopes, no such token is good
     */
    async authenticate(
      token: string,
      {
        toSetUp = false,
        scopes,
      }: { toSetUp?: boolean; scopes?: readonly Scope[] | undefined } = {},
    ): Promise<Caller> {
      const personal = readPersonalToken(token)
      if (personal) return byPersonalToken(personal, scopes)
      let known = claims.get(token)
      if (!known || known.expires * 1000 <= now().getTime()) {
        known = await checked(tokens.checkAccess(token))
        if (claims.size >= MAX_CLAIMS) claims.clear()
        claims.set(token, known)
      }
      const standing = await standings.of(known)
      // No access token is issued for the session of a personal one.
      if (!standing || standing.tokenHash) throw await hasEnded(known)
      if (standing.lacksFactor && !toSetUp) throw factorSetupRequired(standing.role)
      return { ...known, role: standing.role, isLimited: standing.isLimited }
    },

    /**
     * Refreshes the tokens of a session. The previous refresh token can be used again where its response
     * may have been lost. Any other old one means that somebody has a copy, so it ends the session, and
     * the owner is told.
     *
     * @throws Problem `token_not_valid`, `account_deleted`
     */
    async renew(refresh: string, origin: Origin): Promise<TokenPair> {
      const token = await checked(tokens.checkRefresh(refresh))
      const renewed = await renewals.renew(token)
      if (!renewed) throw await refuseReused(token, origin)
      return pair(token.user, token.session, renewed)
    },

    /** Checks a token of either kind. An old refresh token ends the session, as in `renew`.
     *
     * @throws Problem `token_not_valid`, `account_deleted`
     */
    async verify(text: string, origin: Origin): Promise<void> {
      const { isRefresh, ...token } = await checked(tokens.checkAny(text))
      if (isRefresh && !(await renewals.isGood(token))) throw await refuseReused(token, origin)
      if (!isRefresh && !(await live(token.user, token.session).first('id')))
        throw await hasEnded(token)
    },

    /** The active sessions of a user, the most recently used first. */
    async list(user: string, current: string): Promise<SignedInDevice[]> {
      const rows = await db('sessions')
        .where({ user_id: user, revoked_at: null, token_hash: null })
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

    /**
     * Signs out a device and has it delete its data, as soon as it is heard of again. Also one that is signed
     * out already, or whose session has expired.
     *
     * @returns whether there is a session with this id
     */
    async erase(user: string, id: string, origin: Origin): Promise<boolean> {
      const moment = now()
      const erased = await db('sessions')
        .where({ user_id: user, id })
        .update({
          revoked_at: db.raw('coalesce(revoked_at, ?)', [moment]),
          erased_at: db.raw('coalesce(erased_at, ?)', [moment]),
        })
      if (erased === 0) return false
      forget(id)
      const details = { device: 'erased' }
      await events.recordIfPossible({ user, kind: 'session_ended', origin, details })
      return true
    },

    /** Ends one of a user's sessions. @returns whether there was one with this id */
    async endOne(
      user: string,
      id: string,
      origin: Origin,
      details: Readonly<Record<string, string>> = {},
    ): Promise<boolean> {
      const rows = await db('sessions')
        .where({ id, user_id: user, revoked_at: null })
        .andWhere('expires_at', '>', now())
        .update({ revoked_at: now() })
        .returning('id')
      if (rows.length === 0) return false
      forget(id)
      await events.recordIfPossible({ user, kind: 'session_ended', origin, details })
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

    forgetStanding: standings.forgetOf,
    isLimited: standings.isLimited,

    /** Ends the session of this refresh token. Idempotent. */
    async close(refresh: string, origin: Origin): Promise<void> {
      const { session, user } = await checked(tokens.checkRefresh(refresh))
      if (await isDeleted(user)) throw accountDeleted()
      if (await isErased(user, session)) throw sessionErased()
      if (await end(user, session))
        await events.recordIfPossible({ user, kind: 'sign_out', origin })
    },
  }

  async function byPersonalToken(
    known: PersonalClaims,
    scopes: readonly Scope[] | undefined,
  ): Promise<Caller> {
    const standing = await standings.of(known)
    if (!standing || !hasSecret(standing.tokenHash, known)) {
      // Otherwise forged ones would push out those in use.
      if (!standing) standings.forget(known.session)
      throw personalTokenNotValid()
    }
    const { role, lacksFactor, isLimited, expiresAt } = standing
    if (lacksFactor) throw factorSetupRequired(role)
    const given = standing.scopes ?? []
    requireScopes(given, scopes)
    const { secretHash, ...claims } = known
    return { ...claims, expires: expiresAt.getTime() / 1000, role, isLimited, scopes: given }
  }

  async function pair(user: string, session: string, { generation, expires_at }: Renewed) {
    const seconds = Math.ceil((expires_at.getTime() - now().getTime()) / 1000)
    const [access, refresh] = await Promise.all([
      tokens.access(user, session, generation),
      tokens.refresh(user, session, generation, seconds),
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
    const isNew = await revoke(db, user, session)
    forget(session)
    return isNew
  }

  async function revoke(trx: Database, user: string, session: string): Promise<boolean> {
    const active = trx('sessions').where({ user_id: user, id: session, revoked_at: null })
    return (await active.update({ revoked_at: now() })) > 0
  }

  function forget(session: string): void {
    standings.forget(session)
    ended(session)
  }

  /** Also tells a device with an expired token that the account was deleted, or the device erased. */
  async function checked<T>(check: Promise<T>): Promise<T> {
    try {
      return await check
    } catch (error) {
      if (!(error instanceof TokenExpired)) throw error
      if (await isDeleted(error.user)) throw accountDeleted()
      throw (await isErased(error.user, error.session)) ? sessionErased() : error
    }
  }

  /** Ends the session of a refresh token that somebody has a copy of, and tells the owner, once. */
  async function refuseReused({ user, session }: Claims, origin: Origin): Promise<Problem> {
    const isNew = await db.transaction(async (trx) => {
      const owner = await lockOwner(trx, user)
      if (!owner || !(await revoke(trx, user, session))) return false
      const event = { user, kind: 'token_reused', outcome: 'refused', origin } as const
      await events.record(trx, event)
      const to = await addressToNotify(trx, owner, now())
      if (to !== undefined) {
        const cause = `token_reused ${session}`
        await post(trx, [{ cause, user, to, letter: 'token_reused' }], now())
      }
      return true
    })
    if (isNew) forget(session)
    return hasEnded({ user, session })
  }

  async function hasEnded({ user, session }: Pick<Claims, 'user' | 'session'>): Promise<Problem> {
    if (await isDeleted(user)) return accountDeleted()
    return (await isErased(user, session)) ? sessionErased() : sessionEnded()
  }

  async function isErased(user: string, session: string): Promise<boolean> {
    return (await run(db, IS_ERASED, [user, session])).length > 0
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

const factorSetupRequired = (role: Role) =>
  new Problem(
    'factor_setup_required',
    `Your role (${role}) requires a second factor: set one up in the settings of your account.`,
  )

export const NO_SUCH_ACCOUNT = 'No active account has this username and password; check both.'

const OPEN = `
  insert into sessions (id, user_id, user_agent, created_at, last_seen_at, expires_at)
  select :id, u.id, :user_agent, :moment, :moment, :expires_at from users u
  where u.id = :user and u.is_active
    and u.password_hash = coalesce(:password_hash, u.password_hash)
  for share of u`
