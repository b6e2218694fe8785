import type { Role, Scope } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import type { Claims } from './tokens.ts'
import { IS_UNCONFIRMED } from './unconfirmed.ts'

/** How long another node may use a session that has ended. */
const CACHE_MS = 1_000
const MAX_CACHED = 50_000
/** The accuracy of `last_seen_at`. */
const SEEN_MS = 60_000

const IS_LIVE = {
  name: 'session_is_live',
  text: `
    select u.role, s.last_seen_at < $4 or s.seen_generation < $5,
      u.role = any ($6::text[])
        and not exists (select from totp_secrets t where t.user_id = s.user_id)
        and not exists (select from passkeys p where p.user_id = s.user_id),
      $7 and ${IS_UNCONFIRMED}, s.token_hash, s.scopes, s.expires_at
    from sessions s join users u on u.id = s.user_id
    where s.user_id = $1 and s.id = $2 and s.revoked_at is null and s.expires_at > $3
      and u.is_active`,
}

/** What a user may do, as far as it changes without a new token. */
interface Standing {
  role: Role
  /** Whether the role requires a second factor that the account does not have. */
  lacksFactor: boolean
  /** Whether the limits of an unconfirmed account hold. */
  isLimited: boolean
  /** Of a personal token; null for a device. */
  tokenHash: Buffer | null
  scopes: readonly Scope[] | null
  /** When the session ends. */
  expiresAt: Date
}

type Answer = [
  role: Role,
  isNews: boolean,
  lacksFactor: boolean,
  isLimited: boolean,
  tokenHash: Buffer | null,
  scopes: Scope[] | null,
  expiresAt: Date,
]

interface CacheEntry {
  user: string
  /** The newest that was seen. */
  generation: number
  until: number
  standing: Promise<Standing | undefined>
}

interface StandingOptions {
  now: () => Date
  /** The roles that require a second factor. */
  factorRoles: readonly Role[]
  limitsUnconfirmed: boolean
}

/** What the users of active sessions may do. */
export function createStandings(
  db: Database,
  { now, factorRoles, limitsUnconfirmed }: StandingOptions,
) {
  const cache = new Map<string, CacheEntry>()
  const limited = new Set<string>()

  return {
    of,

    /** Whether the limits of an unconfirmed account hold, by the last standing of this user on this node. */
    isLimited: (user: string): boolean => limited.has(user),

    /** Clears the cached standing of a session that has ended. */
    forget(session: string): void {
      cache.delete(session)
    },

    /** Clears those of a user, on this node. Other nodes use the old ones for up to a second. */
    forgetOf(user: string): void {
      for (const [session, entry] of cache) if (entry.user === user) cache.delete(session)
    },
  }

  /**
   * The standing of the session's user; undefined if the session has ended. Cached for a second, so the
   * database gets at most one query per second and session.
   */
  function of({
    user,
    session,
    generation,
  }: Pick<Claims, 'user' | 'session' | 'generation'>): Promise<Standing | undefined> {
    const moment = performance.now()
    const entry = cache.get(session)
    const isOfIt = entry && entry.user === user && entry.generation >= generation
    if (isOfIt && entry.until > moment) return entry.standing
    if (cache.size >= MAX_CACHED) cache.clear()
    const answer = lookUp(user, session, generation)
    cache.set(session, { user, generation, until: moment + CACHE_MS, standing: answer })
    answer.catch(() => cache.delete(session))
    return answer
  }

  /** Also remembers that the session is in use, and the newest token of it: see `renewals.ts`. */
  async function lookUp(user: string, session: string, generation: number) {
    const moment = now()
    const lately = new Date(moment.getTime() - SEEN_MS)
    const values = [user, session, moment, lately, generation, factorRoles, limitsUnconfirmed]
    const [row] = await run<Answer>(db, IS_LIVE, values)
    if (row?.[1])
      db('sessions')
        .where({ user_id: user, id: session })
        // unless another node has just done it
        .andWhereRaw('(last_seen_at < ? or seen_generation < ?)', [lately, generation])
        .update({
          last_seen_at: db.raw('greatest(last_seen_at, ?)', [moment]),
          seen_generation: db.raw('greatest(seen_generation, ?)', [generation]),
        })
        .catch(() => cache.delete(session)) // the next lookup does it
    if (limited.size >= MAX_CACHED) limited.clear()
    if (row?.[3]) limited.add(user)
    else limited.delete(user)
    if (!row) return undefined
    const [role, , lacksFactor, isLimited, tokenHash, scopes, expiresAt] = row
    return { role, lacksFactor, isLimited, tokenHash, scopes, expiresAt }
  }
}
