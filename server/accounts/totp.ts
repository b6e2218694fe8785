import { generateSecret, generateURI, verifySync } from 'otplib'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Seal, Sealed } from './seal.ts'

/** Codes of the step before and of the one after are good too, for clocks that are wrong by as much. */
const STEP_SECONDS = 30

interface Row extends Sealed {
  last_step: string
}

/** Authenticator apps: one for each account. */
export function createTotp(db: Database, seal: Seal, now: () => Date) {
  return {
    /** A new secret, which counts once it is confirmed. */
    create(username: string, host: string) {
      const secret = generateSecret()
      return { secret, uri: generateURI({ issuer: `Tasktide (${host})`, label: username, secret }) }
    },

    async since(user: string): Promise<Date | undefined> {
      const found = await db('totp_secrets')
        .where({ user_id: user })
        .first<{ created_at: Date } | undefined>('created_at')
      return found?.created_at
    },

    /**
     * Keeps a secret in the place of a former one, confirmed by its first code, which is used up.
     *
     * @throws Problem `factor_not_valid`
     */
    async confirm(trx: Database, user: string, secret: string, code: string): Promise<void> {
      const last_step = stepOf(secret, code)
      if (last_step === undefined) throw wrongCode()
      const row = { user_id: user, ...seal.seal(secret, user), last_step, created_at: now() }
      await trx('totp_secrets').insert(row).onConflict('user_id').merge()
    },

    /**
     * Uses up a code: neither it nor an earlier one is good again, on any node.
     *
     * @throws Problem `factor_not_valid`
     */
    async use(user: string, code: string): Promise<void> {
      const found = await db('totp_secrets').where({ user_id: user }).first<Row | undefined>()
      const step = found && stepOf(seal.open(found, user), code, Number(found.last_step))
      if (step === undefined) throw wrongCode()
      const used = await db('totp_secrets')
        .where({ user_id: user })
        .andWhere('last_step', '<', step)
        .update({ last_step: step })
      if (used === 0) throw wrongCode()
    },

    async remove(trx: Database, user: string): Promise<boolean> {
      return (await trx('totp_secrets').where({ user_id: user }).delete()) > 0
    },
  }

  /** The time step of a code; undefined if it is wrong. */
  function stepOf(secret: string, code: string, afterTimeStep?: number): number | undefined {
    if (!/^\d{6}$/.test(code)) return undefined
    const epoch = Math.floor(now().getTime() / 1000)
    const result = verifySync({
      secret,
      token: code,
      epoch,
      epochTolerance: STEP_SECONDS,
      ...(afterTimeStep !== undefined && { afterTimeStep }),
    })
    return result.valid && 'timeStep' in result ? result.timeStep : undefined
  }
}

/**
 * Encrypts secrets again that a former key has encrypted, so that SECRET_KEY_PREVIOUS can be removed.
 * One that cannot be read stays as it is: another process may have its key.
 *
 * @returns how many those are
 */
export async function renewSeals(db: Database, seal: Seal): Promise<number> {
  let unreadable = 0
  const old = await db('totp_secrets')
    .whereNot({ key_id: seal.keyId })
    .select<(Sealed & { user_id: string })[]>('user_id', 'secret', 'key_id')
  for (const { user_id, ...sealed } of old) {
    let secret: string
    try {
      secret = seal.open(sealed, user_id)
    } catch {
      unreadable++
      continue
    }
    await db('totp_secrets')
      .where({ user_id, ...sealed })
      .update(seal.seal(secret, user_id))
  }
  return unreadable
}

const wrongCode = () =>
  new Problem(
    'factor_not_valid',
    'The code is wrong or was used before. Wait for the next one, and check the clock of the phone.',
  )
