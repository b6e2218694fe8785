import { invalid } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Events, Origin } from './events.ts'
import type { Factors, StepUp } from './factors.ts'
import type { Passwords } from './passwords.ts'
import { sessionEnded } from './tokens.ts'

/** The owner of an account, proved by a password or by mail. */
export interface Owner {
  id: string
  username: string
  /** Null if the address belongs to somebody else, who has said so. */
  email: string | null
  email_verified_at: Date | null
  password_hash: string
  created_at: Date
}

const COLUMNS = [
  'id',
  'username',
  'email',
  'email_verified_at',
  'password_hash',
  'created_at',
] as const

/**
 * The owner, proved by session and password: a stolen token alone cannot change an account.
 *
 * @param field the field of the password in the body
 * @throws Problem `invalid` with the field if the password is wrong
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
  if (!(await passwords.matches(password, owner.password_hash, { who: id })))
    throw wrongPassword(field)
  return owner
}

/** The owner, proved by session, password and, if the account has one, a second factor. */
export function ownerProof({
  db,
  passwords,
  factors,
  events,
}: {
  db: Database
  passwords: Passwords
  factors: Pick<Factors, 'stepUp'>
  events: Events
}) {
  return async (id: string, password: string, origin: Origin, stepUp: StepUp): Promise<Owner> => {
    const event = { user: id, kind: 'factor_change', origin } as const
    const owner = await events.recordRefusal(event, () => ownerBy(db, passwords, id, password))
    await factors.stepUp(owner, stepUp)
    return owner
  }
}

export type ProveOwner = ReturnType<typeof ownerProof>

/**
 * Reads the owner and locks the account until the end of the transaction. Every change of an account
 * takes this lock first, so there are no deadlocks.
 */
export function lockOwner(trx: Database, id: string): Promise<Owner | undefined> {
  return there(trx).where({ id }).forNoKeyUpdate().first<Owner | undefined>(COLUMNS)
}

/** Like `lockOwner`, after `ownerBy`. @throws Problem if the password has changed since */
export async function lockOwnerBy(trx: Database, known: Owner, field = 'password'): Promise<Owner> {
  const owner = await lockOwner(trx, known.id)
  if (!owner) throw sessionEnded()
  if (owner.password_hash !== known.password_hash) throw wrongPassword(field)
  return owner
}

const wrongPassword = (field: string) => invalid('body', { [field]: ['Wrong password.'] })

const there = (db: Database) => db('users').where({ is_active: true })
