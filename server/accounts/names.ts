import type { Database } from '../database/connect.ts'

/**
 * What is unique among all users, with its user: usernames and addresses in any case, and the hashes of
 * links in hex. It has a table of its own, because the keys of all others begin with the user
 * (docs/decisions/0029-keys-by-user.md).
 */
export type NameKind = 'username' | 'email' | 'link'

export interface Name {
  kind: NameKind
  name: string
}

/** The id of the user who has this name. */
export async function userNamed(db: Database, kind: NameKind, name: string) {
  const found = await db('names')
    .where({ kind })
    .whereRaw('name = lower(?)', [name])
    .first<{ user_id: string } | undefined>('user_id')
  return found?.user_id
}

/**
 * Gives names to a user, in the caller's transaction. Give a username before an address, as all others
 * do: then two registrations cannot deadlock.
 *
 * @throws the unique violation if somebody has one of them
 */
export async function takeNames(trx: Database, user: string, ...names: Name[]): Promise<void> {
  for (const { kind, name } of names)
    await trx('names').insert({ kind, name: trx.raw('lower(?)', [name]), user_id: user })
}

/** Gives another address to a user, or none, in the caller's transaction. @throws the unique violation */
export async function changeAddress(
  trx: Database,
  user: string,
  from: string | null,
  to: string | null,
): Promise<void> {
  if (to !== null) {
    if ((await userNamed(trx, 'email', to)) === user) return // only its case changes
    await takeNames(trx, user, { kind: 'email', name: to })
  }
  if (from === null) return
  await trx('names')
    .where({ kind: 'email', user_id: user })
    .whereRaw('name = lower(?)', [from])
    .delete()
}

/** Frees all names of a user. */
export async function freeNames(trx: Database, user: string): Promise<void> {
  await trx('names').where({ user_id: user }).delete()
}
