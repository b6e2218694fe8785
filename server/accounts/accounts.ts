import { v7 as uuidv7 } from 'uuid'
import {
  type Account,
  type FactorProof,
  type FieldErrors,
  invalid,
  Problem,
  type Role,
  resources,
  settle,
  type TokenPair,
} from '../../protocol/index.ts'
import { type Database, ofPerson } from '../database/connect.ts'
import { post } from '../mail/outbox.ts'
import type { DeviceMarks } from './device-marks.ts'
import { deviceOf } from './devices.ts'
import type { Events, Origin } from './events.ts'
import type { Factors } from './factors.ts'
import type { Asker } from './hashing-turns.ts'
import { type Invites, invitationUsed } from './invites.ts'
import type { Links } from './links.ts'
import { addressToNotify, mayMail } from './mail-allowance.ts'
import { confirmationOf } from './mail-data.ts'
import { type NameKind, takeNames, userNamed } from './names.ts'
import type { RelyingParty } from './passkeys.ts'
import type { Passwords } from './passwords.ts'
import { admit, type RegistrationRules } from './registration-policy.ts'
import { NO_SUCH_ACCOUNT, type Sessions } from './sessions.ts'
import type { SignInBackoff } from './sign-in-backoff.ts'
import { sessionEnded } from './tokens.ts'
import { type ConfirmationRules, deletionDate, deletionOf } from './unconfirmed.ts'
import { lookAlikesOf, usernameFault } from './username-rules.ts'
import { weakness } from './weak-passwords.ts'

export interface Registration {
  username: string
  email: string
  password: string
  /** Initial values of the profile. */
  timezone?: string | undefined
  locale?: string | undefined
  /** The token of an invitation. */
  invite?: string | undefined
}

interface Dependencies {
  db: Database
  passwords: Passwords
  sessions: Sessions
  links: Links
  factors: Pick<Factors, 'demandToSignIn' | 'signIn'>
  events: Events
  invites: Invites
  rules: RegistrationRules
  confirmation: ConfirmationRules | undefined
  backoff: SignInBackoff
  devices: DeviceMarks
  now: () => Date
}

/** From where somebody signs in. */
export interface SigningIn {
  origin: Origin
  rp: RelyingParty
  /** The marks that the device has, of this account or others. */
  marks?: string | undefined
}

/** After so many wrong passwords of strangers, the owner is told of the sign-in that follows. */
const NOTABLE_FAILURES = 10

/** Registration, sign-in and account data. */
export function createAccounts({
  db,
  passwords,
  sessions,
  links,
  factors,
  events,
  invites,
  rules,
  confirmation,
  backoff,
  devices,
  now,
}: Dependencies) {
  return {
    /**
     * Creates an account and its profile, and queues the confirmation mail, in one transaction.
     *
     * @param options.alongside more work for the same transaction
     * @throws Problem `invalid` with the field: a name or address in use, a common password
     */
    async register(
      { username, email, password, invite: token, ...begin }: Registration,
      { origin = {}, byOperator = false, alongside }: RegistrationOptions = {},
    ): Promise<Account> {
      const invite = byOperator ? undefined : await admit(rules, invites, { email, invite: token })
      const fault = byOperator ? undefined : usernameFault(username)
      if (fault) throw invalid('body', { username: [fault] })
      const weak = weakness(password, { username, email })
      if (weak) throw invalid('body', { password: [weak] })
      const taken = await takenNames(username, email)
      if (taken) throw taken
      const password_hash = await passwords.hash(password, askerOf(origin))
      const id = invite?.id ?? uuidv7()
      const created = now()
      const created_at = created.toISOString()
      const must_confirm = confirmation !== undefined && !byOperator && invite === undefined
      const deletesAt = must_confirm ? deletionDate({ created }, confirmation, created) : undefined
      const account: Account = {
        id,
        username,
        email,
        email_verified_at: null,
        pending_email: null,
        role: 'user',
        created_at,
        deletes_at: deletesAt?.toISOString() ?? null,
      }
      const profile = settle(resources.profile, { id, ...begin }, undefined, created_at)
      try {
        await db.transaction(async (trx) => {
          await takeNames(
            trx,
            id,
            { kind: 'username', name: username },
            { kind: 'email', name: email },
          )
          const user = { id, username, email, password_hash, created_at, must_confirm }
          await trx('users').insert(user)
          await trx(resources.profile.table)
            .insert({ user_id: id, ...profile })
            .options(ofPerson(id))
          // The account works without it, and the user can request the mail later.
          if (await mayMail(trx, email, now())) {
            const link = await links.create(trx, { user: id, purpose: 'confirm_email', email })
            await post(trx, [confirmationOf(id, email, link)], now())
          }
          await events.record(trx, { user: id, kind: 'registered', origin })
          await alongside?.(trx, account)
        })
      } catch (error) {
        if (!isUniqueViolation(error)) throw error
        // Another request took the name in the meantime, or the invitation.
        throw (await takenNames(username, email)) ?? (invite ? invitationUsed() : error)
      }
      return account
    },

    /**
     * Signs in on a device. An unknown name and a wrong password get the same response after the same
     * time. Whoever guesses has to wait longer each time, but not a device that has signed in before.
     *
     * @param name the username or the email address
     * @throws Problem `credentials_not_valid`, `too_many_requests`; `factor_required` if the account has a
     *   second factor
     */
    async signIn(
      name: string,
      password: string,
      { origin, rp, marks = '' }: SigningIn,
    ): Promise<TokenPair> {
      const id = await userNamed(db, kindOf(name), name.normalize('NFKC').replaceAll('\0', ''))
      const user = await db('users')
        .where({ id: id ?? NOBODY })
        .first<Row | undefined>()
      const device = devices.deviceOf(id ?? NOBODY, marks)
      const attempt = { account: id ?? name.toLowerCase(), device, network: origin.site ?? '' }
      await backoff.begin(attempt)
      const by = device ? { who: attempt.account, isKnown: true } : askerOf(origin)
      const matches = await passwords.matches(password, user?.password_hash, by)
      if (!user?.is_active || !matches) {
        // Not awaited: the time of the response must not reveal that there is such an account.
        if (user) void events.recordIfPossible({ ...signInOf(user, origin), outcome: 'refused' })
        else events.logUnknown('sign_in', origin)
        throw new Problem('credentials_not_valid', NO_SUCH_ACCOUNT)
      }
      const failures = await backoff.succeeded(attempt)
      if (failures >= NOTABLE_FAILURES) await tellOwner(user, failures, origin.user_agent ?? '')
      await factors.demandToSignIn(user, rp)
      const pair = await sessions.open(user.id, origin, user.password_hash)
      await events.recordIfPossible(signInOf(user, origin))
      return { ...pair, device: devices.issue(user.id), username: user.username }
    },

    /**
     * Signs in with a factor: after the password, or with a passkey alone.
     *
     * @throws Problem `factor_not_valid`, `too_many_requests`
     */
    async confirmFactor(proof: FactorProof, { origin, rp }: SigningIn): Promise<TokenPair> {
      const { user, method, passwordHash } = await factors.signIn(proof, rp, origin)
      const pair = await sessions.open(user, origin, passwordHash)
      await events.recordIfPossible({ user, kind: 'sign_in', origin, details: { method } })
      const { username } = (await db('users').where({ id: user }).first('username')) ?? {}
      return { ...pair, device: devices.issue(user), username }
    },

    async read(id: string): Promise<Account> {
      const user = await db('users').where({ id }).first<Row | undefined>()
      if (!user) throw sessionEnded()
      const { username, email, role } = user
      const deletesAt = await deletionOf(db, id, confirmation, now())
      return {
        id,
        username,
        email: email ?? '',
        email_verified_at: user.email_verified_at?.toISOString() ?? null,
        pending_email: await links.pendingEmail(db, id, email),
        role,
        created_at: user.created_at.toISOString(),
        deletes_at: deletesAt?.toISOString() ?? null,
      }
    },
  }

  async function tellOwner(owner: Row, failures: number, userAgent: string): Promise<void> {
    const user = owner.id
    const data = { failures: String(failures), device: deviceOf(userAgent) }
    const letter = 'sign_in_after_failures'
    await db.transaction(async (trx) => {
      const to = await addressToNotify(trx, owner, now())
      if (to === undefined) return
      await post(trx, [{ cause: `${letter} ${uuidv7()}`, user, to, letter, data }], now())
    })
  }

  async function takenNames(username: string, email: string): Promise<Problem | undefined> {
    const errors: FieldErrors = {}
    for (const name of [username, ...lookAlikesOf(username)])
      if (await userNamed(db, 'username', name))
        errors.username = ['This username is taken, or looks like one that is; choose another.']
    if (await userNamed(db, 'email', email))
      errors.email = ['An account has this address; sign in, or use another address.']
    return Object.keys(errors).length > 0 ? invalid('body', errors) : undefined
  }
}

export type Accounts = ReturnType<typeof createAccounts>

interface RegistrationOptions {
  origin?: Origin
  /** Whoever runs the server may create any account, whatever the rules for registration. */
  byOperator?: boolean
  alongside?: (trx: Database, account: Account) => Promise<void>
}

/** Networks take turns at hashing. */
export const askerOf = ({ site }: Origin): Asker | undefined =>
  site === undefined ? undefined : { who: site }

const signInOf = ({ id: user }: Row, origin: Origin) => ({ user, kind: 'sign_in', origin }) as const

interface Row {
  id: string
  username: string
  email: string | null
  email_verified_at: Date | null
  password_hash: string
  role: Role
  is_active: boolean
  created_at: Date
}

/** The kind of a name that somebody signs in with. */
export const kindOf = (name: string): NameKind => (name.includes('@') ? 'email' : 'username')

/** An id of no user, so that an unknown name takes as many statements as a known one. */
const NOBODY = '00000000-0000-0000-0000-000000000000'

export const isUniqueViolation = (error: unknown) => (error as { code?: string }).code === '23505'
