import {
  type Attestation,
  type FactorChallenge,
  type FactorProof,
  type Factors as FactorsOverview,
  invalid,
  type Passkey,
  Problem,
  type Role,
} from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Events, Origin } from './events.ts'
import { countAttempt, forgetAttempts, MAX_ATTEMPTS, type Purpose } from './factor-attempts.ts'
import { type FactorNotice, notifyOfFactor } from './factor-notices.ts'
import { createTickets, startAgain, type Ticket } from './factor-tickets.ts'
import { lockOwner, type Owner } from './owners.ts'
import { createPasskeys, type RelyingParty, userOfHandle } from './passkeys.ts'
import {
  countRecoveryCodes,
  deleteRecoveryCodes,
  renewRecoveryCodes,
  useRecoveryCode,
} from './recovery-codes.ts'
import { createSeal } from './seal.ts'
import type { Secrets } from './secrets.ts'
import { sessionEnded } from './tokens.ts'
import { createTotp } from './totp.ts'

interface Dependencies {
  db: Database
  secrets: Secrets
  /** The roles that require a factor. */
  requiredFor: readonly Role[]
  events: Events
  now: () => Date
}

/** Who is about to prove who they are, having given the right password. */
type Known = Pick<Owner, 'id' | 'password_hash'>

/** What a caller has sent besides the password. */
export interface StepUp {
  proof: FactorProof | undefined
  rp: RelyingParty
  origin: Origin
}

/** Second factors: what an account asks for besides the password, and passkeys instead of it. */
export function createFactors({ db, secrets, requiredFor, events, now }: Dependencies) {
  const seal = createSeal(secrets)
  const tickets = createTickets(secrets, now)
  const totp = createTotp(db, seal, now)
  const passkeys = createPasskeys(db, now)

  return {
    async overview(user: string): Promise<FactorsOverview> {
      const since = await totp.since(user)
      return {
        totp_since: since?.toISOString() ?? null,
        passkeys: await passkeys.count(user),
        recovery_codes: await countRecoveryCodes(db, user),
        required: await isRequired(db, user),
      }
    },

    /**
     * Ends the first step of a sign-in, with the right password, if the account has a factor.
     *
     * @throws Problem `factor_required` with the challenge
     */
    demandToSignIn: (known: Known, rp: RelyingParty) => demand(known, 'sign_in', rp),

    /**
     * Lets the owner of an account go on, who has given the password: with a factor, if the account has one.
     *
     * @throws Problem `factor_required`, `factor_not_valid`, `too_many_requests`
     */
    async stepUp(owner: Known, { proof, rp, origin }: StepUp): Promise<void> {
      if (!proof) return demand(owner, 'step_up', rp)
      if (!(await hasFactor(db, owner.id))) return
      const ticket = await tickets.read(proof.ticket, 'step_up')
      if (ticket.user !== owner.id) throw startAgain()
      await recordingRefusal(owner.id, origin, () => prove(owner, ticket, proof, rp))
    },

    /**
     * The second step of a sign-in, or the only one, with a passkey.
     *
     * @returns the user, and the hash of the password that was right in the first step
     * @throws Problem `factor_not_valid`, `too_many_requests`
     */
    async signIn(
      proof: FactorProof,
      rp: RelyingParty,
      origin: Origin,
    ): Promise<{ user: string; method: string; passwordHash?: string }> {
      const ticket = await tickets.read(proof.ticket, 'sign_in', 'passkey_sign_in')
      if (ticket.use === 'passkey_sign_in')
        return { user: await proveByPasskey(ticket, proof, rp), method: 'passkey alone' }
      const known = await db('users')
        .where({ id: ticket.user!, is_active: true })
        .first<Known | undefined>('id', 'password_hash')
      if (!known) throw startAgain()
      await recordingRefusal(known.id, origin, () => prove(known, ticket, proof, rp))
      const method = methodOf(proof)
      return { user: known.id, method, passwordHash: known.password_hash }
    },

    /** The first step of a sign-in with a passkey instead of a password. */
    async passkeyChallenge(rp: RelyingParty): Promise<Required<FactorChallenge>> {
      const { ticket, challenge } = await tickets.issue('passkey_sign_in')
      const public_key = { ...(await passkeys.optionsToGet(undefined, rp, challenge)) }
      return { ticket, methods: ['passkey'], public_key }
    },

    /** The secret of a new authenticator app. A former one stays valid until `confirmTotp`. */
    async newTotp({ id: user, username }: Owner, rp: RelyingParty) {
      const { secret, uri } = totp.create(username, rp.id)
      const { secret: sealed, key_id } = seal.seal(secret, user)
      const parts = `${key_id}.${sealed.toString('base64url')}`
      const { ticket } = await tickets.issue('new_totp', { user, sealed: parts })
      return { ticket, secret, uri }
    },

    /** @returns recovery codes, if this is the first factor. @throws Problem `factor_not_valid` */
    async confirmTotp(
      user: string,
      { ticket: token, code }: { ticket: string; code: string },
      origin: Origin,
    ): Promise<string[]> {
      const ticket = await tickets.read(token, 'new_totp')
      if (ticket.user !== user) throw startAgain()
      const [key_id = '', sealed = ''] = ticket.sealed!.split('.')
      const secret = seal.open({ key_id, secret: Buffer.from(sealed, 'base64url') }, user)
      return adding(user, { change: 'totp_added' }, origin, async (trx) => {
        await totp.confirm(trx, user, secret, code)
        await tickets.use(trx, user, ticket)
      })
    },

    async newPasskey(owner: Owner, rp: RelyingParty) {
      const { ticket, challenge } = await tickets.issue('new_passkey', { user: owner.id })
      return { ticket, public_key: { ...(await passkeys.optionsToCreate(owner, rp, challenge)) } }
    },

    /** @returns recovery codes, if this is the first factor. @throws Problem `factor_not_valid`, `invalid` */
    async confirmPasskey(
      user: string,
      { ticket: token, ...given }: { ticket: string; name: string; passkey: Attestation },
      rp: RelyingParty,
      origin: Origin,
    ): Promise<string[]> {
      const ticket = await tickets.read(token, 'new_passkey')
      if (ticket.user !== user) throw startAgain()
      return adding(user, { change: 'passkey_added' }, origin, async (trx) => {
        await passkeys.add(trx, user, given, rp, ticket.challenge)
        await tickets.use(trx, user, ticket)
      })
    },

    passkeys: (user: string): Promise<Passkey[]> => passkeys.list(user),

    renamePasskey: passkeys.rename,

    /** @throws Problem `invalid` if it is the last factor of somebody who must have one */
    async removeTotp({ id: user }: Owner, origin: Origin): Promise<void> {
      await removing(user, { change: 'totp_removed' }, origin, (trx) => totp.remove(trx, user))
    },

    /**
     * @returns whether there was one with this id
     * @throws Problem `invalid` if it is the last factor of somebody who must have one
     */
    async removePasskey({ id: user }: Owner, id: string, origin: Origin): Promise<boolean> {
      return removing(user, { change: 'passkey_removed' }, origin, (trx) =>
        passkeys.remove(trx, user, id),
      )
    },

    /** @throws Problem `invalid` if the account has no factor */
    async newRecoveryCodes({ id: user }: Owner, origin: Origin): Promise<string[]> {
      return db.transaction(async (trx) => {
        const owner = await lockOwner(trx, user)
        if (!owner) throw sessionEnded()
        if (!(await hasFactor(trx, user)))
          throw new Problem(
            'invalid',
            'Your account has no second factor; set up an authenticator app or a passkey first.',
          )
        await tell(trx, owner, { change: 'recovery_codes_renewed' }, origin)
        return renewRecoveryCodes(trx, user)
      })
    },
  }

  async function demand(known: Known, purpose: Purpose, rp: RelyingParty): Promise<void> {
    const factor = await challengeFor(known, purpose, rp)
    if (!factor) return
    throw new Problem(
      'factor_required',
      'The password is right, and this account has a second factor: send it too. If your app does not ask for it, update the app.',
      { factor },
    )
  }

  async function challengeFor(
    { id: user, password_hash: passwordHash }: Known,
    purpose: Purpose,
    rp: RelyingParty,
  ): Promise<FactorChallenge | undefined> {
    const hasTotp = (await totp.since(user)) !== undefined
    const hasPasskey = (await passkeys.count(user)) > 0
    if (!hasTotp && !hasPasskey) return undefined
    const { ticket, challenge } = await tickets.issue(purpose, { user, passwordHash })
    return {
      ticket,
      methods: [
        ...(hasPasskey ? (['passkey'] as const) : []),
        ...(hasTotp ? (['totp'] as const) : []),
        'recovery_code',
      ],
      ...(hasPasskey && {
        public_key: { ...(await passkeys.optionsToGet(user, rp, challenge)) },
      }),
    }
  }

  async function proveByPasskey(
    ticket: Ticket,
    { passkey }: FactorProof,
    rp: RelyingParty,
  ): Promise<string> {
    const user = userOfHandle(passkey?.response.userHandle)
    if (!user || !passkey) throw startAgain()
    const { challenge } = ticket
    await passkeys.use(user, passkey, { rp, challenge, isAlone: true })
    await tickets.use(db, user, ticket)
    return user
  }

  /** @throws Problem `factor_not_valid`, `too_many_requests` */
  async function prove(
    { id: user, password_hash }: Known,
    ticket: Ticket,
    { totp: code, recovery_code, passkey }: FactorProof,
    rp: RelyingParty,
  ): Promise<void> {
    if (!tickets.isSamePassword(ticket, password_hash)) throw startAgain()
    const purpose = ticket.use as Purpose
    const { challenge } = ticket
    if (passkey) await passkeys.use(user, passkey, { rp, challenge, isAlone: false })
    else if (code) await proveByTotp(user, code, purpose)
    else await proveByRecoveryCode(user, recovery_code!)
    await tickets.use(db, user, ticket)
  }

  async function proveByTotp(user: string, code: string, purpose: Purpose): Promise<void> {
    const attempts = await countAttempt(db, user, purpose, now())
    try {
      await totp.use(user, code)
    } catch (error) {
      if (attempts === MAX_ATTEMPTS) await notify(user, { change: 'codes_tried' })
      throw error
    }
    await forgetAttempts(db, user, purpose)
  }

  async function notify(user: string, notice: FactorNotice): Promise<void> {
    await db.transaction(async (trx) => {
      const owner = await lockOwner(trx, user)
      if (owner) await notifyOfFactor(trx, owner, notice, now())
    })
  }

  async function proveByRecoveryCode(user: string, code: string): Promise<void> {
    await db.transaction(async (trx) => {
      const owner = await lockOwner(trx, user)
      if (!(await useRecoveryCode(trx, user, code, now())))
        throw new Problem(
          'factor_not_valid',
          'The recovery code is wrong or was used before; use another one.',
        )
      const left = await countRecoveryCodes(trx, user)
      if (owner) await notifyOfFactor(trx, owner, { change: 'recovery_code_used', left }, now())
    })
  }

  async function adding(
    user: string,
    notice: FactorNotice,
    origin: Origin,
    add: (trx: Database) => Promise<void>,
  ): Promise<string[]> {
    return db.transaction(async (trx) => {
      const owner = await lockOwner(trx, user)
      if (!owner) throw sessionEnded()
      const isFirst = !(await hasFactor(trx, user))
      await add(trx)
      await tell(trx, owner, notice, origin)
      return isFirst ? renewRecoveryCodes(trx, user) : []
    })
  }

  /** @returns whether there was what to remove */
  async function removing(
    user: string,
    notice: FactorNotice,
    origin: Origin,
    remove: (trx: Database) => Promise<boolean>,
  ): Promise<boolean> {
    return db.transaction(async (trx) => {
      const owner = await lockOwner(trx, user)
      if (!owner) throw sessionEnded()
      if (!(await remove(trx))) return false
      if (!(await hasFactor(trx, user))) {
        if (await isRequired(trx, user))
          throw invalid('body', {
            '': ['Your role requires a second factor; add another one before you remove this one.'],
          })
        await deleteRecoveryCodes(trx, user)
      }
      await tell(trx, owner, notice, origin)
      return true
    })
  }

  /** By mail, and in the events of the account. */
  async function tell(trx: Database, owner: Owner, notice: FactorNotice, origin: Origin) {
    const { change } = notice
    await events.record(trx, { user: owner.id, kind: 'factor_change', origin, details: { change } })
    await notifyOfFactor(trx, owner, notice, now())
  }

  async function recordingRefusal(
    user: string,
    origin: Origin,
    work: () => Promise<void>,
  ): Promise<void> {
    return work().catch(async (error) => {
      if (error instanceof Problem)
        await events.recordIfPossible({ user, kind: 'factor', outcome: 'refused', origin })
      throw error
    })
  }

  async function isRequired(sql: Database, user: string): Promise<boolean> {
    if (requiredFor.length === 0) return false
    const found = await sql('users').where({ id: user }).first<{ role: Role } | undefined>('role')
    return found !== undefined && requiredFor.includes(found.role)
  }
}

export type Factors = ReturnType<typeof createFactors>

const methodOf = ({ passkey, totp }: FactorProof) =>
  passkey ? 'passkey' : totp ? 'totp' : 'recovery code'

async function hasFactor(sql: Database, user: string): Promise<boolean> {
  const found =
    (await sql('totp_secrets').where({ user_id: user }).first('user_id')) ??
    (await sql('passkeys').where({ user_id: user }).first('id'))
  return found !== undefined
}

/** Removes all factors of an account, in the caller's transaction. @returns how many there were */
export async function removeFactors(trx: Database, user: string): Promise<number> {
  const removed = await trx('totp_secrets').where({ user_id: user }).delete()
  const keys = await trx('passkeys').where({ user_id: user }).delete()
  await deleteRecoveryCodes(trx, user)
  await forgetAttempts(trx, user)
  return removed + keys
}
