import * as z from 'zod'
import {
  type Account,
  DEVICE_HEADER,
  factors as factorProtocol,
  accounts as protocol,
} from '../../../protocol/index.ts'
import type { Accounts, SigningIn } from '../../accounts/accounts.ts'
import type { Factors } from '../../accounts/factors.ts'
import type { Sessions } from '../../accounts/sessions.ts'
import { type Call, type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { relyingParty } from './relying-party.ts'

const TOKEN = 'eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTkwYTVjMi0uLi4ifQ.c2lnbmF0dXJl'

const DEVICE = 'Zk3n0yQbWq1x.3v1cQpY0y8cD6f0nB5n5m0bq2o4yZrHh9x1sQ0aV7tM'

export const EXAMPLE_ACCOUNT: Account = {
  id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
  username: 'maria',
  email: 'maria@example.com',
  email_verified_at: null,
  pending_email: null,
  role: 'user',
  created_at: '2026-11-22T08:30:00.000Z',
  deletes_at: '2026-12-06T08:30:00.000Z',
}

interface Dependencies {
  accounts: Accounts
  sessions: Sessions
  factors: Pick<Factors, 'passkeyChallenge'>
  publicUrl: string | undefined
}

/** Registration and sign-in. */
export function accountOperations({
  accounts,
  sessions,
  factors,
  publicUrl,
}: Dependencies): Operation[] {
  const common = { tag: 'account', method: 'post', access: 'limited' } as const
  const byToken = { ...common, limit: 'refusals' } as const
  const pair = {
    name: 'TokenPair',
    schema: protocol.tokenPair,
    example: { access: TOKEN, refresh: TOKEN },
  }
  return [
    operation({
      ...common,
      id: 'register',
      path: '/api/register/',
      summary: 'Register an account',
      description:
        'Also creates the profile. The server may admit only invited people, only addresses of some domains, or nobody.',
      body: {
        name: 'Registration',
        schema: protocol.registration,
        examples: {
          usual: { username: 'maria', email: 'maria@example.com', password: 'a ferry to Lisbon' },
        },
      },
      answers: {
        201: {
          description: 'The account. Sign in to get a token.',
          name: 'Account',
          schema: protocol.account,
          example: EXAMPLE_ACCOUNT,
        },
      },
      problems: ['invalid'],
      handle: async ({ body, request }) => ({
        status: 201,
        body: await accounts.register(body, { origin: originOf({ request }) }),
      }),
    }),
    operation({
      ...common,
      id: 'sign_in',
      path: '/api/token/',
      summary: 'Sign in',
      description:
        'With a username or an email address. Starts a session for this device. Whoever guesses the password of an account waits longer each time (429). A device that has signed in before is not delayed by that. If the account has a second factor, the answer is `factor_required` with `factor`: confirm it at `/api/token/factor/`.',
      headers: [
        {
          name: DEVICE_HEADER,
          description: 'The marks of earlier sign-ins on this device, separated by commas.',
        },
      ],
      body: {
        name: 'Credentials',
        schema: protocol.credentials,
        examples: { usual: { username: 'maria', password: 'a ferry to Lisbon' } },
      },
      answers: {
        200: {
          description: 'The tokens of the session, the mark of the device, and the username.',
          ...pair,
          example: { ...pair.example, device: DEVICE, username: 'maria' },
        },
      },
      problems: ['invalid', 'credentials_not_valid', 'factor_required'],
      handle: async ({ body: { username, password }, request }) => ({
        status: 200,
        body: await accounts.signIn(username, password, signingIn(request)),
      }),
    }),
    operation({
      ...common,
      id: 'confirm_factor',
      path: '/api/token/factor/',
      summary: 'Sign in with a second factor or a passkey',
      description:
        'The second step of a sign-in. Codes and passkeys can be used once. After ten wrong codes in a day, only passkeys and recovery codes are accepted, until the password changes.',
      body: {
        name: 'FactorProof',
        schema: factorProtocol.factorProof,
        examples: { usual: { ticket: TOKEN, totp: '123456' } },
      },
      answers: {
        200: {
          description: 'The tokens of the session, the mark of the device, and the username.',
          ...pair,
          example: { ...pair.example, device: DEVICE, username: 'maria' },
        },
      },
      problems: ['invalid', 'factor_not_valid', 'credentials_not_valid'],
      handle: async ({ body, request }) => ({
        status: 200,
        body: await accounts.confirmFactor(body, signingIn(request)),
      }),
    }),
    operation({
      ...common,
      id: 'begin_passkey_sign_in',
      path: '/api/token/passkey/',
      summary: 'Begin a sign-in with a passkey',
      description:
        'A challenge for a passkey that says itself whose it is, and verifies its owner by PIN, fingerprint or face. Send its answer to `/api/token/factor/`.',
      answers: {
        200: {
          description: 'The challenge.',
          name: 'PasskeyChallenge',
          schema: factorProtocol.passkeyChallenge,
          example: {
            ticket: TOKEN,
            methods: ['passkey'],
            public_key: {
              challenge: 'q0Jm5xJtYb2m3nZkS8wq0c7vE1hRrT4uL9dXfGyAa6I',
              rpId: 'tasks.example.com',
              userVerification: 'required',
            },
          },
        },
      },
      problems: [],
      handle: async ({ request }) => ({
        status: 200,
        body: await factors.passkeyChallenge(relyingParty(publicUrl, request)),
      }),
    }),
    operation({
      ...byToken,
      id: 'refresh_token',
      path: '/api/token/refresh/',
      summary: 'Refresh the tokens',
      description:
        'A refresh token can be used once. If its response was lost, it can be used again within a minute, and later if nothing of the response has been used. Any other use of an old token ends the session and notifies the owner, because somebody has a copy.',
      body: {
        name: 'RefreshRequest',
        schema: protocol.refreshRequest,
        examples: { usual: { refresh: TOKEN } },
      },
      answers: { 200: { description: 'The new tokens of the session.', ...pair } },
      problems: ['invalid', 'token_not_valid', 'account_deleted'],
      handle: async ({ body, request }) => ({
        status: 200,
        body: await sessions.renew(body.refresh, originOf({ request })),
      }),
    }),
    operation({
      ...byToken,
      id: 'verify_token',
      path: '/api/token/verify/',
      summary: 'Verify a token',
      description: 'Accepts an access or a refresh token.',
      body: {
        name: 'VerifyRequest',
        schema: protocol.verifyRequest,
        examples: { usual: { token: TOKEN } },
      },
      answers: {
        200: {
          description: 'The token is valid.',
          name: 'Empty',
          schema: z.strictObject({}),
          example: {},
        },
      },
      problems: ['invalid', 'token_not_valid', 'account_deleted'],
      handle: async ({ body, request }) => {
        await sessions.verify(body.token, originOf({ request }))
        return { status: 200, body: {} }
      },
    }),
    operation({
      ...byToken,
      id: 'log_out',
      path: '/api/logout/',
      summary: 'Log out',
      description: 'Ends the session and invalidates both of its tokens.',
      body: {
        name: 'LogoutRequest',
        schema: protocol.refreshRequest,
        examples: { usual: { refresh: TOKEN } },
      },
      answers: { 204: { description: 'Signed out.' } },
      problems: ['invalid', 'token_not_valid', 'account_deleted'],
      handle: async ({ body, request }) => {
        await sessions.close(body.refresh, originOf({ request }))
        return { status: 204 }
      },
    }),
  ]

  function signingIn(request: Call['request']): SigningIn {
    return {
      origin: originOf({ request }),
      marks: request.get(DEVICE_HEADER),
      rp: relyingParty(publicUrl, request),
    }
  }
}
