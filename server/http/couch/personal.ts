import type { Request } from 'express'
import { Problem } from '../../../protocol/index.ts'
import type { Accounts, SigningIn } from '../../accounts/accounts.ts'
import type { BasicSignIn } from '../../accounts/basic-sign-in.ts'
import type { Sessions } from '../../accounts/sessions.ts'
import { TokenExpired } from '../../accounts/tokens.ts'
import { headOf, uuidOf } from '../../couch/database.ts'
import { ALL, type ProjectionMeans, projectedDatabase } from '../../couch/projection.ts'
import { forbidden, Refusal } from '../../couch/refusal.ts'
import { type Authenticate, bearerToken } from '../mount.ts'
import type { Databases } from './databases.ts'

/** The databases of the caller's documents. */
export function personalDatabases(
  means: ProjectionMeans,
  accounts: Pick<Accounts, 'read'>,
): Databases {
  return {
    uuid: async ({ user }) => uuidOf(user, await headOf(means.store, user)),
    usernameOf: async ({ user }) => (await accounts.read(user)).username,
    async find({ user, session, scopes }, name) {
      // A token for tasks reads no profile.
      if (scopes && [ALL, 'profile'].includes(name) && !scopes.includes('profile'))
        throw forbidden('This database has the profile too: the token needs the scope profile.')
      return projectedDatabase(means, name, { user, session })
    },
  }
}

interface Dependencies {
  sessions: Pick<Sessions, 'authenticate'>
  basicSignIn: BasicSignIn
  signingIn(request: Request): SigningIn
}

/**
 * With an access token, or with a username and a password or personal token. Cookies are not looked at, so no other
 * site can make a browser write here.
 */
export const couchAuthentication =
  ({ sessions, basicSignIn, signingIn }: Dependencies): Authenticate =>
  async (request, needs) => {
    const credentials = basicCredentials(request)
    try {
      return await (credentials
        ? basicSignIn(credentials, needs.scopes, signingIn(request))
        : sessions.authenticate(bearerToken(request), needs))
    } catch (error) {
      if (request.headers.authorization === undefined) throw new Problem('unauthenticated', SEND)
      // `unauthorized` would end the replication for good, and a client can get a new token.
      if (error instanceof TokenExpired) throw new Refusal(401, 'token_expired', error.message)
      if (error instanceof Problem && error.code === 'factor_required')
        throw new Refusal(
          401,
          'unauthorized',
          'This account has a second factor: use a personal token in place of the password.',
        )
      throw error
    }
  }

const SEND =
  'Send the header Authorization: Bearer <access token>, or Basic with a username and a password or personal token.'

/** @returns undefined for another scheme @throws Problem `unauthenticated` */
function basicCredentials({ headers }: Request) {
  const [, encoded] = /^Basic +([\w+/=-]+)$/i.exec(headers.authorization ?? '') ?? []
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  if (colon < 0)
    throw new Problem('unauthenticated', 'Send username:password in base64 after Basic.')
  return { username: text.slice(0, colon), password: text.slice(colon + 1) }
}
