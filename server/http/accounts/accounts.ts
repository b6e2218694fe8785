import * as z from 'zod'
import { type Account, DEVICE_HEADER, accounts as protocol } from '../../../protocol/index.ts'
import type { Accounts } from '../../accounts/accounts.ts'
import type { Sessions } from '../../accounts/sessions.ts'
import { type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'

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
}

/** Registration and sign-in. */
export function accountOperations(accounts: Accounts, sessions: Sessions): Operation[] {
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
        'With a username or an email address. Starts a session for this device. Whoever guesses the password of an account waits longer each time (429). A device that has signed in before is not delayed by that.',
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
          description: 'The tokens of the session, and the mark of the device.',
          ...pair,
          example: { ...pair.example, device: DEVICE },
        },
      },
      problems: ['invalid', 'credentials_not_valid'],
      handle: async ({ body: { username, password }, request }) => ({
        status: 200,
        body: await accounts.signIn(
          username,
          password,
          originOf({ request }),
          request.get(DEVICE_HEADER),
        ),
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
}
