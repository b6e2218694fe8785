import { id, Problem, accounts as protocol } from '../../../protocol/index.ts'
import type { Sessions } from '../../accounts/sessions.ts'
import { boolean } from '../documents/url-values.ts'
import { type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'

const SESSION_ID = id()

/** The sessions of an account, one per signed-in device. */
export function accountSessionOperations(sessions: Sessions): Operation[] {
  const common = { tag: 'account', access: 'bearer' } as const
  return [
    operation({
      ...common,
      scopes: ['account'],
      id: 'list_sessions',
      method: 'get',
      path: '/api/account/sessions/',
      summary: 'List your sessions',
      description: 'One per signed-in device, the most recently used first, 200 at most.',
      answers: {
        200: {
          description: 'The sessions.',
          name: 'SignedInDevices',
          schema: protocol.signedInDevices,
          example: {
            results: [
              {
                id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
                user_agent:
                  'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
                device: 'Firefox on Linux',
                created_at: '2026-11-22T08:30:00.000Z',
                last_seen_at: '2026-11-22T09:12:41.000Z',
                current: true,
              },
            ],
          },
        },
      },
      problems: [],
      handle: async ({ user, session }) => ({
        status: 200,
        body: { results: await sessions.list(user, session) },
      }),
    }),
    operation({
      ...common,
      id: 'end_session',
      method: 'delete',
      path: '/api/account/sessions/{id}/',
      summary: 'Revoke a session',
      description:
        'Signs the device out: closes its sockets and streams and invalidates its tokens.',
      query: [
        {
          name: 'erase',
          description:
            'Whether the device also has to delete all data of the account on it, unsent edits included: a lost device. It does so when it reaches the server the next time, even after its session has expired. It gets `token_not_valid` with `erase: true`.',
          schema: boolean(),
          json: { type: 'boolean' },
        },
      ],
      answers: { 204: { description: 'Signed out.' } },
      problems: ['not_found'],
      async handle({ user, params, query, request }) {
        const parsed = SESSION_ID.safeParse(params.id)
        const origin = originOf({ request })
        const end = query.erase ? sessions.erase : sessions.endOne
        if (!parsed.success || !(await end(user, parsed.data, origin)))
          throw new Problem(
            'not_found',
            'You have no session with this id; list your sessions for the ids.',
          )
        return { status: 204 }
      },
    }),
    operation({
      ...common,
      id: 'end_sessions',
      method: 'delete',
      path: '/api/account/sessions/',
      summary: 'Revoke all other sessions',
      description: 'Signs out every device except the one that asks.',
      query: [
        {
          name: 'current',
          description: 'Whether to revoke the current session too.',
          schema: boolean(),
          json: { type: 'boolean' },
        },
      ],
      answers: { 204: { description: 'Signed out.' } },
      problems: [],
      async handle({ user, session, query, request }) {
        await sessions.signOut(user, originOf({ request }), query.current ? undefined : session)
        return { status: 204 }
      },
    }),
  ]
}
