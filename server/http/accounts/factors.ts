import {
  accounts as accountProtocol,
  type FactorProof,
  id,
  Problem,
  factors as protocol,
} from '../../../protocol/index.ts'
import type { Factors } from '../../accounts/factors.ts'
import type { ProveOwner } from '../../accounts/owners.ts'
import type { Sessions } from '../../accounts/sessions.ts'
import { type Call, type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { STEP_UP } from './account-life.ts'
import { relyingParty } from './relying-party.ts'

interface Dependencies {
  factors: Factors
  proveOwner: ProveOwner
  sessions: Pick<Sessions, 'forgetStanding'>
  publicUrl: string | undefined
}

const TICKET =
  'eyJhbGciOiJIUzI1NiIsInR5cCI6ImZhY3Rvcitqd3QifQ.eyJzdWIiOiIwMTkwYTVjMi0uLi4ifQ.c2lnbmF0'
const CHALLENGE = 'q0Jm5xJtYb2m3nZkS8wq0c7vE1hRrT4uL9dXfGyAa6I'
const SECRET = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP'
const PASSKEY_ID = id()

const EXAMPLE_PASSKEY = {
  id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
  name: 'Phone',
  created_at: '2026-11-22T08:30:00.000Z',
  last_used_at: null,
  is_synced: true,
}

const RECOVERY_CODES = {
  name: 'RecoveryCodes',
  schema: protocol.recoveryCodes,
  example: { recovery_codes: ['abcd-efgh-ijkl-mnop', 'qrst-uvwx-yz23-4567'] },
}

/** Setting up second factors and passkeys. */
export function factorOperations({
  factors,
  proveOwner,
  sessions,
  publicUrl,
}: Dependencies): Operation[] {
  const common = { tag: 'account', access: 'bearer', toSetUpFactor: true } as const
  const post = { ...common, method: 'post', limit: 'account' } as const
  /** With the password, and with a factor if there is one. */
  const byOwner = {
    ...post,
    body: {
      name: 'OwnerRequest',
      schema: accountProtocol.ownerRequest,
      examples: { usual: { password: 'a ferry to Lisbon' } },
    },
  } as const
  return [
    operation({
      ...common,
      id: 'read_factors',
      method: 'get',
      path: '/api/account/factors/',
      summary: 'Get your second factors',
      description: 'Which factors are set up, and whether your role requires one.',
      answers: {
        200: {
          description: 'What is set up.',
          name: 'Factors',
          schema: protocol.factors,
          example: {
            totp_since: '2026-11-22T08:30:00.000Z',
            passkeys: 1,
            recovery_codes: 10,
            required: false,
          },
        },
      },
      problems: [],
      handle: async ({ user }) => ({ status: 200, body: await factors.overview(user) }),
    }),
    operation({
      ...byOwner,
      id: 'begin_totp',
      path: '/api/account/totp/',
      summary: 'Begin to set up an authenticator app',
      description:
        'Returns a secret, which counts once a code of it is confirmed within 5 minutes. A former app works until then.',
      answers: {
        200: {
          description: 'The secret.',
          name: 'NewTotp',
          schema: protocol.newTotp,
          example: {
            ticket: TICKET,
            secret: SECRET,
            uri: `otpauth://totp/Tasktide%20(tasks.example.com):maria?issuer=Tasktide%20(tasks.example.com)&secret=${SECRET}`,
          },
        },
      },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle(call) {
        const owner = await ownerOf(call)
        return { status: 200, body: await factors.newTotp(owner, rp(call)) }
      },
    }),
    operation({
      ...post,
      id: 'confirm_totp',
      path: '/api/account/totp/confirm/',
      summary: 'Set up an authenticator app',
      description:
        'With a code that it shows. Replaces a former app. Notifies the account by mail.',
      body: {
        name: 'ConfirmTotp',
        schema: protocol.confirmTotp,
        examples: { usual: { ticket: TICKET, code: '123456' } },
      },
      answers: {
        200: {
          description: 'Set up. Recovery codes, if it is the first factor.',
          ...RECOVERY_CODES,
        },
      },
      problems: ['invalid', 'too_many_requests', 'factor_not_valid'],
      handle: ({ user, body, request }) =>
        added(user, factors.confirmTotp(user, body, originOf({ request }))),
    }),
    operation({
      ...byOwner,
      id: 'remove_totp',
      path: '/api/account/totp/remove/',
      summary: 'Remove the authenticator app',
      description: 'Notifies the account by mail.',
      answers: { 204: { description: 'Removed, or there was none.' } },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle(call) {
        await factors.removeTotp(await ownerOf(call), originOf(call))
        sessions.forgetStanding(call.user)
        return { status: 204 }
      },
    }),
    operation({
      ...common,
      id: 'list_passkeys',
      method: 'get',
      path: '/api/account/passkeys/',
      summary: 'List your passkeys',
      description: 'The oldest first.',
      answers: {
        200: {
          description: 'The passkeys.',
          name: 'Passkeys',
          schema: protocol.passkeys,
          example: { results: [EXAMPLE_PASSKEY] },
        },
      },
      problems: [],
      handle: async ({ user }) => ({
        status: 200,
        body: { results: await factors.passkeys(user) },
      }),
    }),
    operation({
      ...byOwner,
      id: 'begin_passkey',
      path: '/api/account/passkeys/begin/',
      summary: 'Begin to add a passkey',
      description:
        'The response has the challenge for the browser, and a ticket for `POST /api/account/passkeys/`.',
      answers: {
        200: {
          description: 'The options for the browser.',
          name: 'NewPasskey',
          schema: protocol.newPasskey,
          example: {
            ticket: TICKET,
            public_key: {
              challenge: CHALLENGE,
              rp: { id: 'tasks.example.com', name: 'Tasktide' },
              user: { id: 'AZClwnpOfMOYxNwMDAc5jw', name: 'maria', displayName: '' },
              pubKeyCredParams: [{ alg: -7, type: 'public-key' }],
            },
          },
        },
      },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle(call) {
        const owner = await ownerOf(call)
        return { status: 200, body: await factors.newPasskey(owner, rp(call)) }
      },
    }),
    operation({
      ...post,
      id: 'confirm_passkey',
      path: '/api/account/passkeys/confirm/',
      summary: 'Add a passkey',
      description:
        'With the answer of the browser, within 5 minutes. At most 20. Notifies the account by mail.',
      body: {
        name: 'ConfirmPasskey',
        schema: protocol.confirmPasskey,
        examples: {
          usual: {
            ticket: TICKET,
            name: 'Phone',
            passkey: {
              id: CHALLENGE,
              rawId: CHALLENGE,
              type: 'public-key',
              response: { clientDataJSON: 'eyJ0eXBlIjoi', attestationObject: 'o2NmbXRk' },
            },
          },
        },
      },
      answers: {
        200: {
          description: 'Added. Recovery codes, if it is the first factor.',
          ...RECOVERY_CODES,
        },
      },
      problems: ['invalid', 'too_many_requests', 'factor_not_valid'],
      handle: (call) =>
        added(call.user, factors.confirmPasskey(call.user, call.body, rp(call), originOf(call))),
    }),
    operation({
      ...common,
      id: 'rename_passkey',
      method: 'patch',
      path: '/api/account/passkeys/{id}/',
      summary: 'Rename a passkey',
      description: 'The name is for its owner only; sign-ins do not use it.',
      body: {
        name: 'RenamePasskey',
        schema: protocol.renamePasskey,
        examples: { usual: { name: 'Phone' } },
      },
      answers: {
        200: {
          description: 'The passkey.',
          name: 'Passkey',
          schema: protocol.passkey,
          example: EXAMPLE_PASSKEY,
        },
      },
      problems: ['not_found'],
      async handle({ user, params, body }) {
        const renamed = await factors.renamePasskey(user, passkeyId(params), body.name)
        if (!renamed) throw noPasskey()
        return { status: 200, body: renamed }
      },
    }),
    operation({
      ...byOwner,
      id: 'remove_passkey',
      path: '/api/account/passkeys/{id}/remove/',
      summary: 'Remove a passkey',
      description: 'Notifies the account by mail.',
      answers: { 204: { description: 'Removed.' } },
      problems: ['not_found', 'invalid', 'too_many_requests', ...STEP_UP],
      async handle(call) {
        const id = passkeyId(call.params)
        const known = await factors.passkeys(call.user)
        if (!known.some((passkey) => passkey.id === id)) throw noPasskey()
        if (!(await factors.removePasskey(await ownerOf(call), id, originOf(call))))
          throw noPasskey()
        sessions.forgetStanding(call.user)
        return { status: 204 }
      },
    }),
    operation({
      ...byOwner,
      id: 'renew_recovery_codes',
      path: '/api/account/recovery-codes/',
      summary: 'Get new recovery codes',
      description: 'The former ones are no longer valid. Notifies the account by mail.',
      answers: { 200: { description: 'The codes, shown this once.', ...RECOVERY_CODES } },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle(call) {
        const recovery_codes = await factors.newRecoveryCodes(await ownerOf(call), originOf(call))
        return { status: 200, body: { recovery_codes } }
      },
    }),
  ]

  function ownerOf(
    call: Pick<Call, 'user' | 'request'> & {
      body: { password: string; factor?: FactorProof | undefined }
    },
  ) {
    const { password, factor: proof } = call.body
    const origin = originOf(call)
    return proveOwner(call.user, password, origin, { proof, rp: rp(call), origin })
  }

  function rp({ request }: Pick<Call, 'request'>) {
    return relyingParty(publicUrl, request)
  }

  async function added(user: string, adding: Promise<string[]>) {
    const recovery_codes = await adding
    sessions.forgetStanding(user)
    return { status: 200, body: { recovery_codes } }
  }
}

function passkeyId(params: Call['params']): string {
  const parsed = PASSKEY_ID.safeParse(params.id)
  if (!parsed.success) throw noPasskey()
  return parsed.data
}

const noPasskey = () =>
  new Problem('not_found', 'You have no passkey with this id; list your passkeys for the ids.')
