import { v7 as uuidv7 } from 'uuid'
import type { TokenPair } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { type AccessClaims, REFRESH_SECONDS, type Tokens, tokenNotValid } from './tokens.ts'

/** How long another node may go on believing in a session that has ended. */
const BELIEF_MS = 1_000
const MAX_BELIEFS = 50_000
const MAX_CLAIMS = 20_000
const MAX_USER_AGENT = 300

const IS_LIVE = {
  name: 'session_is_live',
  text: `
    select 1 from sessions s join users u on u.id = s.user_id
    where s.id = $1 and s.revoked_at is null and s.expires_at > $2 and u.is_active`,
}

const ARE_LIVE = {
  name: 'sessions_are_live',
  text: `
    select s.id from sessions s join users u on u.id = s.user_id
    where s.id = any ($1::uuid[]) and s.revoked_at is null and s.expires_at > $2 and u.is_active`,
}

interface Row {
  user_id: string
  generation: number
  last_seen_at: Date
}

/** The signed-in devices, and the tokens that they hold. */
export function createSessions(
  db: Database,
  tokens: Tokens,
  now: () => Date,
  ended: (session: string) => void = () => {},
) {
  const beliefs = new Map<string, { until: number; live: Promise<boolean> }>()
  const claims = new Map<string, AccessClaims>()

  return {
    /** Starts a session on a device. */
    async open(user: string, userAgent: string): Promise<TokenPair> {
      const id = uuidv7()
      const moment = now()
      await db('sessions').where({ user_id: user }).andWhere('expires_at', '<', moment).delete()
      await db('sessions').insert({
        id,
        user_id: user,
        user_agent: userAgent.replaceAll('\0', '').slice(0, MAX_USER_AGENT),
        created_at: moment,
        last_seen_at: moment,
        expires_at: inSeconds(moment, REFRESH_SECONDS),
      })
      return pair(user, id, 1)
    },

    /**
     * Whose access token this is.
     *
     * @throws Problem `token_not_valid`: forged, expired, or its session or user is gone
     */
    async authenticate(token: string): Promise<AccessClaims> {
      let known = claims.get(token)
      if (!known || known.expires * 1000 <= now().getTime()) {
        known = await tokens.checkAccess(token)
        if (claims.size >= MAX_CLAIMS) claims.clear()
        claims.set(token, known)
      }
      if (!(await isLive(known.session)))
        throw tokenNotValid('The session has ended; sign in again.')
      return known
    },

    /**
     * Renews a session. The token of the generation before the current one may be used again,
     * because the answer with its successor may have been lost: it buys that same successor. An
     * older one has been renewed twice, so somebody else holds a copy: the session ends.
     *
     * @throws Problem `token_not_valid`
     */
    async renew(refresh: string): Promise<TokenPair> {
      const { session, user, generation } = await tokens.checkRefresh(refresh)
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
      throw tokenNotValid('The session has ended; sign in again.')
    },

    /** Whether this token, of either kind, would be taken now. @throws Problem `token_not_valid` */
    async verify(token: string): Promise<void> {
      const { session, generation } = await tokens.checkAny(token)
      const found = await live(session).first<Row | undefined>('generation')
      // An access token has no generation; of refresh tokens the last two are taken.
      if (!found || (generation ?? found.generation) < found.generation - 1)
        throw tokenNotValid('The session has ended; sign in again.')
    },

    /** Those of the sessions that are still good, whatever was believed of them. */
    async stillLive(ids: readonly string[]): Promise<Set<string>> {
      const rows = await run<[string]>(db, ARE_LIVE, [ids, now()])
      return new Set(rows.map(([id]) => id))
    },

    /** Ends the session of this refresh token; ending it again is no fault. */
    async close(refresh: string): Promise<void> {
      await end((await tokens.checkRefresh(refresh)).session)
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

  async function end(session: string): Promise<void> {
    await db('sessions').where({ id: session, revoked_at: null }).update({ revoked_at: now() })
    beliefs.delete(session)
    ended(session)
  }

  /** Asked of the database once a second for each session in use, however many requests it makes. */
  function isLive(session: string): Promise<boolean> {
    const moment = performance.now()
    const belief = beliefs.get(session)
    if (belief && belief.until > moment) return belief.live
    if (beliefs.size >= MAX_BELIEFS) beliefs.clear()
    const answer = run(db, IS_LIVE, [session, now()]).then((rows) => rows.length > 0)
    beliefs.set(session, { until: moment + BELIEF_MS, live: answer })
    answer.catch(() => beliefs.delete(session))
    return answer
  }
}

export type Sessions = ReturnType<typeof createSessions>

const inSeconds = (moment: Date, seconds: number) => new Date(moment.getTime() + seconds * 1000)
