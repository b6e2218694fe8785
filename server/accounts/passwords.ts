import { createHmac } from 'node:crypto'
import { availableParallelism } from 'node:os'
import bcrypt from 'bcrypt'
import type { PasswordEngine } from './background-bcrypt.ts'
import { type Asker, hashingTurns } from './hashing-turns.ts'

const COST = 12
const WAITING_PER_LANE = 8

/** Commands and tests have nobody to share with. */
const NOBODY_ELSE: Asker = { who: '' }

/**
 * A hash takes a quarter of a second of one core, so many at once would block all requests. Therefore
 * there is one lane per spare core with a short queue, in which networks take turns. When the queue is full,
 * the client gets a 429 with Retry-After.
 *
 * @param engine does the hashing: by default bcrypt on this process's threads
 */
export function createPasswords({
  cost = COST,
  lanes = Math.max(1, availableParallelism() - 1),
  waitingPerLane = WAITING_PER_LANE,
  engine = bcrypt as PasswordEngine,
} = {}) {
  const inTurn = hashingTurns({ lanes, places: lanes * waitingPerLane })
  // Compared for unknown users, so that the response takes as long as for a wrong password.
  const nobody = bcrypt.hashSync('nobody has this password', cost)

  return {
    /** @throws Problem `too_many_requests` if the queue is full */
    hash: (password: string, by: Asker = NOBODY_ELSE): Promise<string> =>
      inTurn(by, async () => {
        if (fitsBcrypt(password)) return engine.hash(password, cost)
        return LONG + (await engine.hash(digestOf(password), cost))
      }),

    /**
     * Whether the password has this hash. Without a hash it is false, after the same time.
     *
     * @throws Problem `too_many_requests` if the queue is full
     */
    async matches(
      password: string,
      hash: string | undefined,
      by: Asker = NOBODY_ELSE,
    ): Promise<boolean> {
      const isLong = hash?.startsWith(LONG) === true
      const compared = isLong ? hash.slice(LONG.length) : (hash ?? nobody)
      const input = fitsBcrypt(password) ? password : digestOf(password)
      const canBe = hash !== undefined && isLong === !fitsBcrypt(password)
      return inTurn(by, async () => (await engine.compare(input, compared)) && canBe)
    },
  }
}

export type Passwords = ReturnType<typeof createPasswords>

/**
 * The beginning of the hash of a longer password: bcrypt of its digest. Nodes of the release before take such
 * a hash for one of no password.
 */
const LONG = 'hmac-sha256:'

/** bcrypt ignores everything after 72 bytes. */
const BCRYPT_BYTES = 72
const fitsBcrypt = (password: string) => Buffer.byteLength(password) <= BCRYPT_BYTES

/**
 * Keyed, so that the plain SHA-256 of a password, leaked elsewhere, is of no use here; in base64, because
 * bcrypt ends at a NUL. Not a pepper: docs/decisions/0038-sign-in.md.
 */
const digestOf = (password: string) =>
  createHmac('sha256', 'tasktide password').update(password).digest('base64')
