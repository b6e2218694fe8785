import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

/** Codes that may be tried in a day. At three valid ones in a million, guessing takes a century. */
export const MAX_ATTEMPTS = 10
const WINDOW_MS = 24 * 60 * 60 * 1000

/**
 * What codes are tried for. Whoever tries them at sign-in knows the password; they must not keep the
 * devices out that the owner is signed in with.
 */
export type Purpose = 'sign_in' | 'step_up'

/**
 * Counts a code that is about to be compared, so that many at once are not more than one after another.
 * Only codes that can be guessed count: the owner always gets in with a passkey, a recovery code, or with
 * another password, which ends the count, because the others do not know it.
 *
 * @returns how many there were within a day
 * @throws Problem `too_many_requests`
 */
export async function countAttempt(
  db: Database,
  user: string,
  purpose: Purpose,
  now: Date,
): Promise<number> {
  const { rows } = await db.raw<{ rows: [{ attempts: number; since: Date }] }>(COUNT, {
    user,
    purpose,
    now,
    over: new Date(now.getTime() - WINDOW_MS),
  })
  const [{ attempts, since }] = rows
  if (attempts <= MAX_ATTEMPTS) return attempts
  const left = since.getTime() + WINDOW_MS - now.getTime()
  throw new Problem(
    'too_many_requests',
    'Too many wrong codes. Use a passkey or a recovery code; or choose a new password with “Forgot your password?”, because somebody may know it.',
    { retryAfter: Math.max(1, Math.ceil(left / 1000)) },
  )
}

const COUNT = `
  insert into factor_attempts as t (user_id, purpose, attempts, since) values (:user, :purpose, 1, :now)
  on conflict (user_id, purpose) do update set
    attempts = case when t.since < :over then 1 else t.attempts + 1 end,
    since = case when t.since < :over then :now else t.since end
  returning attempts, since`

/** After a right code, or when the password has changed. */
export async function forgetAttempts(db: Database, user: string, purpose?: Purpose): Promise<void> {
  await db('factor_attempts')
    .where({ user_id: user, ...(purpose && { purpose }) })
    .delete()
}
