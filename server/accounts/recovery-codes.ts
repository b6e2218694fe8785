import { createHash, randomInt } from 'node:crypto'
import type { Database } from '../database/connect.ts'

const CODES = 10
/** 80 bits: nobody guesses them, so a plain hash is enough, and attempts are not counted. */
const CHARACTERS = 16
/** Base32 in small letters: none of them looks like another one. */
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** Replaces the recovery codes of an account. @returns them, for the only time */
export async function renewRecoveryCodes(trx: Database, user: string): Promise<string[]> {
  const codes = Array.from({ length: CODES }, newCode)
  await deleteRecoveryCodes(trx, user)
  await trx('recovery_codes').insert(
    codes.map((code) => ({ user_id: user, code_hash: hashOf(code) })),
  )
  return codes.map((code) => code.replaceAll(/(.{4})(?=.)/g, '$1-'))
}

export async function deleteRecoveryCodes(trx: Database, user: string): Promise<void> {
  await trx('recovery_codes').where({ user_id: user }).delete()
}

/** Uses up a code. @returns whether it was a good one */
export async function useRecoveryCode(
  trx: Database,
  user: string,
  code: string,
  now: Date,
): Promise<boolean> {
  const used = await trx('recovery_codes')
    .where({ user_id: user, code_hash: hashOf(code.toLowerCase()), used_at: null })
    .update({ used_at: now })
  return used > 0
}

export async function countRecoveryCodes(db: Database, user: string): Promise<number> {
  const [left] = await db('recovery_codes')
    .where({ user_id: user, used_at: null })
    .count<{ count: string }[]>()
  return Number(left!.count)
}

const newCode = () =>
  Array.from({ length: CHARACTERS }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')

const hashOf = (code: string) => createHash('sha256').update(code).digest()
