import { v7 as uuidv7 } from 'uuid'
import { type Account, Problem, resources, settle, type TokenPair } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { type Passwords, weakness } from './passwords.ts'
import type { Sessions } from './sessions.ts'

interface Registration {
  username: string
  email: string
  password: string
}

/** The people who use the service: who they are and how they show it. */
export function createAccounts(
  db: Database,
  passwords: Passwords,
  sessions: Sessions,
  now: () => Date,
) {
  return {
    /**
     * Makes an account and its profile, together.
     *
     * @throws Problem `invalid` naming the field: a name or address in use, a common password
     */
    async register({ username, email, password }: Registration): Promise<Account> {
      const weak = weakness(password, { username, email })
      if (weak) throw invalid({ password: [weak] })
      const taken = await takenNames(username, email)
      if (taken) throw taken
      const password_hash = await passwords.hash(password)
      const id = uuidv7()
      const created_at = now().toISOString()
      const profile = settle(resources.profile, { id }, undefined, created_at)
      try {
        await db.transaction(async (trx) => {
          await trx('users').insert({ id, username, email, password_hash, created_at })
          await trx(resources.profile.table).insert({ user_id: id, ...profile })
        })
      } catch (error) {
        // Somebody took the name in the meantime.
        throw (isUniqueViolation(error) && (await takenNames(username, email))) || error
      }
      return { id, username, email, created_at }
    },

    /**
     * Signs in on a device. An unknown name and a wrong password are told in the same words, after
     * the same time.
     *
     * @param name the username or the email address
     * @throws Problem `credentials_not_valid`
     */
    async signIn(name: string, password: string, userAgent: string): Promise<TokenPair> {
      const column = name.includes('@') ? 'email' : 'username'
      const user = await db('users')
        .whereRaw(`lower(${column}) = lower(?)`, [name.normalize('NFKC').replaceAll('\0', '')])
        .first<{ id: string; password_hash: string; is_active: boolean } | undefined>()
      const matches = await passwords.matches(password, user?.password_hash)
      if (!user?.is_active || !matches)
        throw new Problem('credentials_not_valid', 'No active account has this name and password.')
      return sessions.open(user.id, userAgent)
    },
  }

  async function takenNames(username: string, email: string): Promise<Problem | undefined> {
    const users = await db('users')
      .whereRaw('lower(username) = lower(?) or lower(email) = lower(?)', [username, email])
      .select<{ same_name: boolean; same_email: boolean }[]>(
        db.raw('lower(username) = lower(?) as same_name', [username]),
        db.raw('lower(email) = lower(?) as same_email', [email]),
      )
    const errors: Record<string, string[]> = {}
    for (const { same_name, same_email } of users) {
      if (same_name) errors.username = ['Choose another: this one is taken.']
      if (same_email) errors.email = ['There is an account with this address: sign in.']
    }
    return users.length > 0 ? invalid(errors) : undefined
  }
}

export type Accounts = ReturnType<typeof createAccounts>

const isUniqueViolation = (error: unknown) => (error as { code?: string }).code === '23505'

function invalid(errors: Record<string, string[]>): Problem {
  return new Problem('invalid', `The body has faults in: ${Object.keys(errors).join(', ')}.`, {
    errors,
  })
}
