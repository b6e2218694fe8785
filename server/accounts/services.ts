import type { Role } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { createAccounts } from './accounts.ts'
import { createAddresses } from './addresses.ts'
import { createAdministration } from './administration.ts'
import { createDeletion } from './deletion.ts'
import { deviceMarks } from './device-marks.ts'
import { createEvents } from './events.ts'
import { createFactors } from './factors.ts'
import { createInvites } from './invites.ts'
import { createLinks } from './links.ts'
import { ownerProof } from './owners.ts'
import { createPasswordChanges } from './password-changes.ts'
import type { Passwords } from './passwords.ts'
import { createPersonalTokens } from './personal-tokens.ts'
import { OPEN, type RegistrationRules } from './registration-policy.ts'
import type { Secrets } from './secrets.ts'
import { createSessions } from './sessions.ts'
import { signInBackoff } from './sign-in-backoff.ts'
import { createTokens } from './tokens.ts'
import type { ConfirmationRules } from './unconfirmed.ts'

interface Dependencies {
  db: Database
  secrets: Secrets
  passwords: Passwords
  /** The absolute lifetime of a session. */
  sessionDays: number
  /** The roles that require a second factor. */
  factorRoles: readonly Role[]
  log: Pick<Log, 'info' | 'warn'>
  now: () => Date
  /** Who may register. Default: everybody. */
  registration?: RegistrationRules
  /** What holds for those who have not confirmed their address. Default: nothing. */
  confirmation?: ConfirmationRules | undefined
  /** Whether whoever guesses passwords of an account has to wait. */
  delaysGuesses?: boolean
  /** Told of each session that ends. */
  ended: (session: string) => void
}

/** Everything that can be done with accounts, put together. */
export function createAccountServices({
  db,
  secrets,
  passwords,
  sessionDays,
  factorRoles,
  log,
  now,
  registration: rules = OPEN,
  confirmation,
  delaysGuesses = true,
  ended,
}: Dependencies) {
  const events = createEvents(db, log, now)
  const sessions = createSessions(db, createTokens(secrets, now), events, {
    now,
    sessionDays,
    factorRoles,
    limitsUnconfirmed: confirmation !== undefined,
    ended,
  })
  const links = createLinks(secrets, now)
  const invites = createInvites(db, secrets, now)
  const backoff = signInBackoff(db, { isOff: !delaysGuesses })
  const devices = deviceMarks(secrets)
  const factors = createFactors({ db, secrets, requiredFor: factorRoles, events, now })
  const proving = { db, passwords, factors }
  const accounts = createAccounts({
    ...proving,
    sessions,
    links,
    events,
    invites,
    rules,
    confirmation,
    backoff,
    devices,
    now,
  })
  return {
    events,
    accounts,
    sessions,
    personalTokens: createPersonalTokens(db, { sessions, events, now }),
    factors,
    proveOwner: ownerProof({ ...proving, events }),
    administration: createAdministration({
      db,
      accounts,
      passwords,
      sessions,
      links,
      invites,
      events,
      now,
    }),
    addresses: createAddresses({ ...proving, links, events, now }),
    passwordChanges: createPasswordChanges({ ...proving, sessions, links, events, backoff, now }),
    deleteAccount: createDeletion({ ...proving, sessions, links, events, now }),
  }
}
