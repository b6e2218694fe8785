import { createHash } from 'node:crypto'
import validator from 'validator'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

/** The limit per address and hour, whoever requests the mail: protects the owner of the mailbox. */
const MAILS_AN_HOUR = 3
const HOUR_MS = 60 * 60 * 1000

/**
 * Whether another mail that anybody can request may be sent to this address, and counts it. Spellings
 * of one mailbox count together. Concurrent requests are serialized.
 */
export function mayMail(trx: Database, address: string, now: Date): Promise<boolean> {
  return takeFrom(trx, mailboxOf(address), now)
}

/**
 * Whether an account may be warned at this address now: one an hour, so that many accounts of one mailbox leave
 * room for the mail that its owner requests.
 */
export async function mayWarn(trx: Database, address: string, now: Date): Promise<boolean> {
  const mayOne = await takeFrom(trx, `warnings ${mailboxOf(address)}`, now, 1)
  return mayOne && mayMail(trx, address, now)
}

async function takeFrom(
  trx: Database,
  allowance: string,
  now: Date,
  limit = MAILS_AN_HOUR,
): Promise<boolean> {
  const address_hash = createHash('sha256').update(allowance).digest()
  await trx.raw('select pg_advisory_xact_lock(?)', [address_hash.readBigInt64BE().toString()])
  const [used] = await trx('mail_allowances')
    .where({ address_hash })
    .andWhere('used_at', '>', new Date(now.getTime() - HOUR_MS))
    .count<{ count: string }[]>()
  if (Number(used!.count) >= limit) return false
  await trx('mail_allowances').insert({ address_hash, used_at: now })
  return true
}

/**
 * The mailbox that an address reaches, in one spelling: as the large providers do it (Gmail ignores dots),
 * and everywhere in lower case, without the part after a plus.
 */
export function mailboxOf(address: string): string {
  const [, name = '', host = ''] = /^([^@+]*)[^@]*@(.*)$/.exec(address.toLowerCase()) ?? []
  return validator.normalizeEmail(`${name}@${host}`) || `${name}@${host}`
}

/** A flood by accounts that are made for it would need as many days as mails. */
const ESTABLISHED_MS = 24 * HOUR_MS

/**
 * The address that may be notified about its account now; undefined if none may. An unconfirmed address may
 * be a stranger's, so a limit applies to it: from the second day on one for each account, so that nobody can
 * use it up first and then act unnoticed.
 */
export async function addressToNotify(
  trx: Database,
  { id, email, email_verified_at, created_at }: Notified,
  now: Date,
): Promise<string | undefined> {
  if (email === null) return undefined
  if (email_verified_at !== null) return email
  const isEstablished = now.getTime() - created_at.getTime() > ESTABLISHED_MS
  const may = isEstablished
    ? await takeFrom(trx, `notices ${id} ${mailboxOf(email)}`, now)
    : await mayMail(trx, email, now)
  return may ? email : undefined
}

interface Notified {
  id: string
  email: string | null
  email_verified_at: Date | null
  created_at: Date
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
