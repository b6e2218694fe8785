import { createHash } from 'node:crypto'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

/** The limit per address and hour, whoever requests the mail: protects the owner of the mailbox. */
const MAILS_AN_HOUR = 3
const HOUR_MS = 60 * 60 * 1000

/**
 * Whether another mail that anybody can request may be sent to this address, and counts it. Spellings
 * of one mailbox count together. Concurrent requests are serialized.
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

/** Normalized like most mail servers do: lower case, without the part after a plus. */
function mailboxOf(address: string): string {
  const [, name = '', host = ''] = /^([^@+]*)[^@]*@(.*)$/.exec(address.toLowerCase()) ?? []
  return `${name}@${host}`
}

/**
 * Whether an address may be notified about its account. An unconfirmed address may be a stranger's, so
 * the limit applies to it.
 */
export async function mayNotify(
  trx: Database,
  { email, email_verified_at }: { email: string; email_verified_at: Date | null },
  now: Date,
): Promise<boolean> {
  return email_verified_at !== null || mayMail(trx, email, now)
}

export function tooMuchMail(): Problem {
  return new Problem(
    'too_many_requests',
    'Several mails were sent to this address within the last hour; check the mailbox, or try again later.',
    { retryAfter: HOUR_MS / 1000 },
  )
}

export async function deleteOldAllowances(db: Database, now: Date): Promise<void> {
  await db('mail_allowances')
    .where('used_at', '<', new Date(now.getTime() - HOUR_MS))
    .delete()
}
