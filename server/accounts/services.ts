import type { Database } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { createAccounts } from './accounts.ts'
import { createAddresses } from './addresses.ts'
import { createAdministration } from './administration.ts'
import { createDeletion } from './deletion.ts'
import { createEvents } from './events.ts'
import { createLinks } from './links.ts'
import { createPasswordChanges } from './password-changes.ts'
import type { Passwords } from './passwords.ts'
import type { Secrets } from './secrets.ts'
import { createSessions } from './sessions.ts'
import { createTokens } from './tokens.ts'

interface Dependencies {
  db: Database
  secrets: Secrets
  passwords: Passwords
  log: Pick<Log, 'info' | 'warn'>
  now: () => Date
  /** Told of each session that ends. */
  ended: (session: string) => void
}

/** Everything that can be done with accounts, put together. */
export function createAccountServices({ db, secrets, passwords, log, now, ended }: Dependencies) {
  const events = createEvents(db, log, now)
  const sessions = createSessions(db, createTokens(secrets, now), events, now, ended)
  const links = createLinks(secrets, now)
  const accounts = createAccounts(db, passwords, sessions, links, events, now)
  return {
    events,
    accounts,
    sessions,
    administration: createAdministration({ db, accounts, passwords, sessions, links, events, now }),
    addresses: createAddresses({ db, passwords, links, events, now }),
    passwordChanges: createPasswordChanges({ db, passwords, sessions, links, events, now }),
    deleteAccount: createDeletion({ db, passwords, sessions, links, events, now }),
  }
}
