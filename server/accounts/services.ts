import type { Database } from '../database/connect.ts'
import { createAccounts } from './accounts.ts'
import { createAddresses } from './addresses.ts'
import { createAdministration } from './administration.ts'
import { createDeletion } from './deletion.ts'
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
  now: () => Date
  /** Told of each session that ends. */
  ended: (session: string) => void
}

/** Everything that can be done with accounts, put together. */
export function createAccountServices({ db, secrets, passwords, now, ended }: Dependencies) {
  const sessions = createSessions(db, createTokens(secrets, now), now, ended)
  const links = createLinks(secrets, now)
  const accounts = createAccounts(db, passwords, sessions, links, now)
  return {
    accounts,
    sessions,
    administration: createAdministration({ db, accounts, passwords, sessions, links, now }),
    addresses: createAddresses({ db, passwords, links, now }),
    passwordChanges: createPasswordChanges({ db, passwords, sessions, links, now }),
    deleteAccount: createDeletion({ db, passwords, sessions, links, now }),
  }
}
