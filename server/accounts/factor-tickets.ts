import { createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Secrets } from './secrets.ts'

const TICKET_SECONDS = 5 * 60

const ALGORITHM = 'HS256'
const TYPE = 'factor+jwt'
const ISSUER = 'tasktide'

/** What a ticket is for: it is good for nothing else. */
type TicketUse = 'sign_in' | 'passkey_sign_in' | 'step_up' | 'new_totp' | 'new_passkey'

export interface Ticket {
  use: TicketUse
  /** Random. A passkey signs it, and it can be used once. */
  challenge: string
  /** Undefined for `passkey_sign_in`: the passkey says who it is. */
  user: string | undefined
  /** Of a password that was right: see `isSamePassword`. */
  password: string | undefined
  /** The encrypted secret of an authenticator app that is being set up, and its key. */
  sealed: string | undefined
  expires: Date
}

/**
 * The state between the two steps of a sign-in or of setting up a factor. Signed and with the client, so
 * that strangers store nothing here, and any node takes the second step.
 */
export function createTickets(secrets: Secrets, now: () => Date) {
  const keys = secrets.map((secret) =>
    Buffer.from(hkdfSync('sha256', secret, '', 'tasktide factor tickets', 32)),
  )

  return {
    async issue(
      use: TicketUse,
      {
        user,
        passwordHash,
        sealed,
      }: { user?: string; passwordHash?: string; sealed?: string } = {},
    ): Promise<{ ticket: string; challenge: string }> {
      const challenge = randomBytes(32).toString('base64url')
      const issuedAt = Math.floor(now().getTime() / 1000)
      const password = passwordHash && printOf(keys[0]!, passwordHash)
      const ticket = await new SignJWT({ use, password, sealed })
        .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
        .setIssuer(ISSUER)
        .setSubject(user ?? '')
        .setJti(challenge)
        .setExpirationTime(issuedAt + TICKET_SECONDS)
        .sign(keys[0]!)
      return { ticket, challenge }
    },

    /** @throws Problem `factor_not_valid`: forged, expired, or for something else */
    async read(token: string, ...uses: readonly TicketUse[]): Promise<Ticket> {
      for (const key of keys) {
        const ticket = await verified(token, key)
        if (ticket && uses.includes(ticket.use)) return ticket
      }
      throw startAgain()
    },

    /** Whether the password is still the one that was right when the ticket was issued. */
    isSamePassword: ({ password }: Ticket, passwordHash: string) =>
      keys.some((key) => printOf(key, passwordHash) === password),

    /**
     * Marks a ticket as used, on all nodes.
     *
     * @throws Problem `factor_not_valid` if it was used before
     */
    async use(trx: Database, user: string, { challenge, expires }: Ticket): Promise<void> {
      await trx('used_challenges')
        .where({ user_id: user })
        .andWhere('expires_at', '<', now())
        .delete()
      const used = await trx('used_challenges')
        .insert({ user_id: user, challenge, expires_at: expires })
        .onConflict(['user_id', 'challenge'])
        .ignore()
        .returning('challenge')
      if (used.length === 0) throw startAgain()
    },
  }

  async function verified(token: string, key: Buffer): Promise<Ticket | undefined> {
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: [ALGORITHM],
        typ: TYPE,
        issuer: ISSUER,
        currentDate: now(),
        requiredClaims: ['sub', 'jti', 'exp'],
      })
      return {
        use: payload.use as TicketUse,
        challenge: payload.jti!,
        user: payload.sub || undefined,
        password: payload.password as string | undefined,
        sealed: payload.sealed as string | undefined,
        expires: new Date(payload.exp! * 1000),
      }
    } catch {
      return undefined
    }
  }
}

export const startAgain = () =>
  new Problem('factor_not_valid', 'The ticket has expired or was already used; start again.')

/** Tells passwords apart, and nothing about them without the key. */
const printOf = (key: Buffer, passwordHash: string) =>
  createHmac('sha256', key).update(passwordHash).digest('base64url').slice(0, 16)
