import { id, Problem, personalTokens as protocol } from '../../../protocol/index.ts'
import type { ProveOwner } from '../../accounts/owners.ts'
import type { PersonalTokens } from '../../accounts/personal-tokens.ts'
import { type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { STEP_UP } from './account-life.ts'
import { relyingParty } from './relying-party.ts'

interface Dependencies {
  personalTokens: PersonalTokens
  proveOwner: ProveOwner
  publicUrl: string | undefined
}

const TOKEN_ID = id()

const EXAMPLE = {
  id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
  name: 'Nightly report',
  scopes: ['tasks:read'],
  created_at: '2026-11-22T08:30:00.000Z',
  last_used_at: null,
  expires_at: null,
}

/** The personal tokens of an account. None of them can create another: these operations have no scopes, but the list. */
export function personalTokenOperations({
  personalTokens,
  proveOwner,
  publicUrl,
}: Dependencies): Operation[] {
  const common = { tag: 'account', access: 'bearer' } as const
  return [
    operation({
      ...common,
      scopes: ['account'],
      id: 'list_personal_tokens',
      method: 'get',
      path: '/api/account/tokens/',
      summary: 'List your personal tokens',
      description: 'The newest first.',
      answers: {
        200: {
          description: 'The tokens, without their secrets.',
          name: 'PersonalTokens',
          schema: protocol.personalTokens,
          example: { results: [EXAMPLE] },
        },
      },
      problems: [],
      handle: async ({ user }) => ({
        status: 200,
        body: { results: await personalTokens.list(user) },
      }),
    }),
    operation({
      ...common,
      id: 'create_personal_token',
      method: 'post',
      path: '/api/account/tokens/',
      limit: 'account',
      summary: 'Create a personal token',
      description:
        'For a script, with the password, and with a factor if there is one. The token is sent as an access token is, and can do what its scopes name: `tasks:read` and `tasks:write` are for all documents except the profile, and neither contains the other; `profile` reads and writes the profile; `account` reads the account, its devices, tokens and security events. Sockets need `tasks:read` and `profile`. No token can create tokens, change the account or sign out devices. It ends when it is revoked, when the password changes, and when all other devices are signed out. 50 at most.',
      body: {
        name: 'NewPersonalToken',
        schema: protocol.newPersonalToken,
        examples: {
          usual: {
            name: 'Nightly report',
            scopes: ['tasks:read'],
            password: 'a ferry to Lisbon',
          },
        },
      },
      answers: {
        201: {
          description: 'The token, shown once.',
          name: 'CreatedPersonalToken',
          schema: protocol.createdPersonalToken,
          example: {
            ...EXAMPLE,
            token:
              'tasktide_AZClwnpOfMOYxNwMDAc5jwGQpcJ6TnzDmMTcDAwHOY8eHHqQ3vUJ5lF0a1bCq9w2kMTz7YxQ0nR4sV6uW8pLmA',
          },
        },
      },
      problems: ['too_many_requests', ...STEP_UP],
      async handle({ user, body: { password, factor: proof, ...wanted }, request }) {
        const origin = originOf({ request })
        const rp = relyingParty(publicUrl, request)
        const owner = await proveOwner(user, password, origin, { proof, rp, origin })
        return { status: 201, body: await personalTokens.create(owner, wanted, origin) }
      },
    }),
    operation({
      ...common,
      id: 'revoke_personal_token',
      method: 'delete',
      path: '/api/account/tokens/{id}/',
      summary: 'Revoke a personal token',
      description: 'Within a second on every node. Closes its sockets and streams.',
      answers: { 204: { description: 'Revoked.' } },
      problems: ['not_found'],
      async handle({ user, params, request }) {
        const parsed = TOKEN_ID.safeParse(params.id)
        const origin = originOf({ request })
        if (!parsed.success || !(await personalTokens.revoke(user, parsed.data, origin)))
          throw new Problem(
            'not_found',
            'You have no personal token with this id; list your tokens for the ids.',
          )
        return { status: 204 }
      },
    }),
  ]
}
