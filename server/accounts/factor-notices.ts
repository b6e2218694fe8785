import { v7 as uuidv7 } from 'uuid'
import type { Database } from '../database/connect.ts'
import { post } from '../mail/outbox.ts'
import type { FactorChange } from '../mail/templates/template.ts'
import { addressToNotify } from './mail-allowance.ts'

/** What has happened to a factor. Not the name of a passkey: an unconfirmed address may be a stranger's. */
export interface FactorNotice {
  change: FactorChange
  /** The recovery codes that are left. */
  left?: number
}

/** Tells the owner by mail, in the caller's transaction. */
export async function notifyOfFactor(
  trx: Database,
  owner: Parameters<typeof addressToNotify>[1],
  notice: FactorNotice,
  now: Date,
): Promise<void> {
  const to = await addressToNotify(trx, owner, now)
  if (to === undefined) return
  const { id: user } = owner
  const cause = `factor_changed ${uuidv7()}`
  await post(trx, [{ cause, user, to, letter: 'factor_changed', data: { ...notice } }], now)
}
