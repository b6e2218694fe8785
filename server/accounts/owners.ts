import { invalid } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Passwords } from './passwords.ts'
import { sessionEnded } from './tokens.ts'

/** Whoever an account belongs to, as far as that is shown by a password or by mail. */
export interface Owner {
  id: string
  username: string
  email: string
  email_verified_at: Date | null
  password_hash: string
}

const COLUMNS = ['id', 'username', 'email', 'email_verified_at', 'password_hash'] as const

/**
 * The owner, by the password that goes with the session: a token alone, which somebody may have
 * found, changes nothing of an account.
 *
 * @param field where the password stands in the body
 * @throws Problem `invalid` naming the field when it is another's
 */
export async function ownerBy(
  db: Database,
  passwords: Passwords,
  id: string,
  password: string,
  field = 'password',
): Promise<Owner> {
  const owner = await there(db).where({ id }).first<Owner | undefined>(COLUMNS)
  if (!owner) throw sessionEnded()
  if (!(await passwords.matches(password, owner.password_hash))) throw wrongPassword(field)
  return owner
}

/**
 * The owner once more, and nobody else changes the account until the end of the transaction. All that
 * changes an account begins with this, so none of it waits for another in a circle.
 */
export function lockOwner(trx: Database, id: string): Promise<Owner | undefined> {
  return there(trx).where({ id }).forNoKeyUpdate().first<Owner | undefined>(COLUMNS)
}

/** As `lockOwner`, for whom `ownerBy` has found. @throws Problem when the password has changed since */
export async function lockOwnerBy(trx: Database, known: Owner, field = 'password'): Promise<Owner> {
  const owner = await lockOwner(trx, known.id)
  if (!owner) throw sessionEnded()
  if (owner.password_hash !== known.password_hash) throw wrongPassword(field)
  return owner
}

const wrongPassword = (field: string) =>
  invalid('body', { [field]: ['This is not your password.'] })

const there = (db: Database) => db('users').where({ is_active: true })
