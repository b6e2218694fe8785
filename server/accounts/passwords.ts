import { availableParallelism } from 'node:os'
import { dictionary } from '@zxcvbn-ts/language-common'
import bcrypt from 'bcrypt'
import { Problem } from '../../protocol/index.ts'
import type { PasswordEngine } from './background-bcrypt.ts'

const COST = 12
const WAITING_PER_LANE = 8
const SECONDS_EACH = 0.3

/**
 * Hashing takes a quarter of a second of one core; sixteen at once would keep everybody waiting. So
 * there is one lane for each spare core with a short queue before it, and who does not fit is told
 * when to come back.
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
  // Compared when there is no such user, so that the answer takes as long as for a wrong password.
  const nobody = bcrypt.hashSync('nobody has this password', cost)

  return {
    /** @throws Problem `too_many_requests` when too many are waiting */
    hash: (password: string): Promise<string> => inLane(() => engine.hash(password, cost)),

    /**
     * Whether the password is the one of this hash; false, after as long a time, without a hash.
     *
     * @throws Problem `too_many_requests` when too many are waiting
     */
    async matches(password: string, hash: string | undefined): Promise<boolean> {
      // bcrypt would take a right password with anything behind its 72 bytes.
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

/** Why this password is too easy to guess for this account, if it is. */
export function weakness(
  password: string,
  { username, email }: { username: string; email: string },
): string | undefined {
  const folded = password.toLowerCase()
  const known = [username, email, email.split('@')[0]!].map((part) => part.toLowerCase())
  if (known.includes(folded)) return 'Choose one that is not your name or address.'
  if (commonPasswords().has(folded)) return 'Choose another: this one is among the most common.'
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
    'Many people are signing in at the moment; try again soon.',
    {
      retryAfter: Math.max(1, Math.ceil(waitingEach * SECONDS_EACH)),
    },
  )
}
