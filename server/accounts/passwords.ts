import { availableParallelism } from 'node:os'
import { dictionary } from '@zxcvbn-ts/language-common'
import bcrypt from 'bcrypt'
import { Problem } from '../../protocol/index.ts'
import type { PasswordEngine } from './background-bcrypt.ts'

const COST = 12
const WAITING_PER_LANE = 8
const SECONDS_EACH = 0.3

/**
 * A hash takes a quarter of a second of one core, so many at once would block all requests. Therefore
 * there is one lane per spare core with a short queue. When the queue is full, the client gets a 429
 * with Retry-After.
 *
 * @param engine does the hashing: by default bcrypt on this process's threads
 */
export function createPasswords({
  cost = COST,
  lanes = Math.max(1, availableParallelism() - 1),
  waitingPerLane = WAITING_PER_LANE,
  engine = bcrypt as PasswordEngine,
} = {}) {
  let running = 0
  const waiting: (() => void)[] = []
  // Compared for unknown users, so that the response takes as long as for a wrong password.
  const nobody = bcrypt.hashSync('nobody has this password', cost)

  return {
    /** @throws Problem `too_many_requests` if the queue is full */
    hash: (password: string): Promise<string> => inLane(() => engine.hash(password, cost)),

    /**
     * Whether the password has this hash. Without a hash it is false, after the same time.
     *
     * @throws Problem `too_many_requests` if the queue is full
     */
    async matches(password: string, hash: string | undefined): Promise<boolean> {
      // bcrypt ignores everything after 72 bytes.
      const canBe = hash !== undefined && Buffer.byteLength(password) <= 72
      return inLane(async () => (await engine.compare(password, hash ?? nobody)) && canBe)
    },
  }

  async function inLane<T>(work: () => Promise<T>): Promise<T> {
    if (running >= lanes) {
      if (waiting.length >= lanes * waitingPerLane) throw tooMany(waiting.length / lanes)
      await new Promise<void>((go) => waiting.push(go))
    } else running++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

export type Passwords = ReturnType<typeof createPasswords>

/** Why the password is too weak for this account; undefined if it is not. */
export function weakness(
  password: string,
  { username, email }: { username: string; email: string },
): string | undefined {
  const folded = password.toLowerCase()
  const known = [username, email, email.split('@')[0]!].map((part) => part.toLowerCase())
  if (known.includes(folded)) return 'Do not use your username or address as the password.'
  if (commonPasswords().has(folded)) return 'This password is too common; choose another.'
  return undefined
}

let common: Set<string> | undefined
function commonPasswords(): Set<string> {
  common ??= new Set(dictionary['passwords-common'].filter((word) => word.length >= 8))
  return common
}

function tooMany(waitingEach: number): Problem {
  return new Problem(
    'too_many_requests',
    'Too many sign-ins at the moment; try again in a few seconds.',
    {
      retryAfter: Math.max(1, Math.ceil(waitingEach * SECONDS_EACH)),
    },
  )
}
