import { createHash } from 'node:crypto'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

/** More mail than this is sent to no address within the hour, whoever asks: it is for its owner. */
const MAILS_AN_HOUR = 3
const HOUR_MS = 60 * 60 * 1000

/**
 * Whether this address may be sent another mail that anybody can ask for, which then counts. Spellings
 * of one mailbox count together, and requests that come at once one after the other.
 */
export async function mayMail(trx: Database, address: string, now: Date): Promise<boolean> {
  const address_hash = createHash('sha256').update(mailboxOf(address)).digest()
  await trx.raw('select pg_advisory_xact_lock(?)', [address_hash.readBigInt64BE().toString()])
  const [used] = await trx('mail_allowances')
    .where({ address_hash })
    .andWhere('used_at', '>', new Date(now.getTime() - HOUR_MS))
    .count<{ count: string }[]>()
  if (Number(used!.count) >= MAILS_AN_HOUR) return false
  await trx('mail_allowances').insert({ address_hash, used_at: now })
  return true
}

/** As most mail servers see it: in one letter case, and without what stands behind a plus. */
function mailboxOf(address: string): string {
  const [, name = '', host = ''] = /^([^@+]*)[^@]*@(.*)$/.exec(address.toLowerCase()) ?? []
  return `${name}@${host}`
}

/**
 * Whether an address may be told what happens to its account. One that nobody has confirmed may be a
 * stranger's, to whom it is mail like any other.
 */
export async function mayTell(
  trx: Database,
  { email, email_verified_at }: { email: string; email_verified_at: Date | null },
  now: Date,
): Promise<boolean> {
  return email_verified_at !== null || mayMail(trx, email, now)
}

export function tooMuchMail(): Problem {
  return new Problem(
    'too_many_requests',
    'This address has been sent several mails within the hour: look there, or try again later.',
    { retryAfter: HOUR_MS / 1000 },
  )
}

export async function forgetAllowances(db: Database, now: Date): Promise<void> {
  await db('mail_allowances')
    .where('used_at', '<', new Date(now.getTime() - HOUR_MS))
    .delete()
}
