import { type FactorProof, accounts as protocol } from '../../../protocol/index.ts'
import type { Accounts } from '../../accounts/accounts.ts'
import type { Addresses } from '../../accounts/addresses.ts'
import type { DeleteAccount } from '../../accounts/deletion.ts'
import type { StepUp } from '../../accounts/factors.ts'
import type { PasswordChanges } from '../../accounts/password-changes.ts'
import type { Limits } from '../../sync/limits.ts'
import type { Usage } from '../../sync/quota.ts'
import { type Call, type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { EXAMPLE_ACCOUNT } from './accounts.ts'
import { relyingParty } from './relying-party.ts'

interface Dependencies {
  accounts: Pick<Accounts, 'read'>
  addresses: Addresses
  passwordChanges: PasswordChanges
  deleteAccount: DeleteAccount
  /** What is stored for a person, and may be. */
  usage: (user: string) => Promise<Usage>
  limitsOf: (user: string) => Limits
  publicUrl: string | undefined
}

const LINK_TOKEN = 'q0Jm5xJtYb2m3nZkS8wq0c7vE1hRrT4uL9dXfGyAa6I'
const PASSWORD = 'a ferry to Lisbon'
const NEXT_PASSWORD = 'an early train to Porto'

/** Operations on an existing account: address, password, deletion. */
export function accountLifeOperations({
  accounts,
  addresses,
  passwordChanges,
  deleteAccount,
  usage,
  limitsOf,
  publicUrl,
}: Dependencies): Operation[] {
  const signedIn = { tag: 'account', access: 'bearer' } as const
  // With a stolen token, nobody can guess the password or flood a mailbox.
  const guarded = { ...signedIn, method: 'post', limit: 'account' } as const
  const byLink = { tag: 'account', method: 'post', access: 'limited' } as const
  return [
    operation({
      ...signedIn,
      toSetUpFactor: true,
      scopes: ['account'],
      id: 'read_account',
      method: 'get',
      path: '/api/account/',
      summary: 'Get your account',
      description:
        'Where the server sends mail, an account that registered without an invitation is limited until its address is confirmed (no reminders and digests, a tenth of the quota, and of the sockets and event streams, but two), and deleted at `deletes_at` if it never is. Its devices keep their data.',
      answers: {
        200: {
          description: 'The account.',
          name: 'OwnAccount',
          schema: protocol.ownAccount,
          example: {
            ...EXAMPLE_ACCOUNT,
            usage: {
              documents: 214,
              max_documents: 100_000,
              bytes: 96_320,
              max_bytes: 268_435_456,
            },
          },
        },
      },
      problems: [],
      async handle({ user }) {
        const [account, used] = await Promise.all([accounts.read(user), usage(user)])
        const limits = limitsOf(user)
        const most = { max_documents: finite(limits.documents), max_bytes: finite(limits.bytes) }
        return { status: 200, body: { ...account, usage: { ...used, ...most } } }
      },
    }),
    operation({
      ...byLink,
      id: 'show_confirmation',
      path: '/api/account/show-confirmation/',
      summary: 'Show what a confirmation link is for',
      description:
        'The account and the address, so that an app can ask before it confirms: programs that check mail open links, too. The token stays valid.',
      body: {
        name: 'ConfirmEmail',
        schema: protocol.confirmEmailRequest,
        examples: { usual: { token: LINK_TOKEN } },
      },
      answers: {
        200: {
          description: 'What it would confirm.',
          name: 'Confirmation',
          schema: protocol.confirmation,
          example: { username: 'maria', email: 'maria@example.com', is_change: false },
        },
      },
      problems: ['invalid', 'link_not_valid'],
      handle: async ({ body }) => ({ status: 200, body: await addresses.show(body.token) }),
    }),
    operation({
      ...byLink,
      id: 'disown_email',
      path: '/api/account/disown-email/',
      summary: 'Say that an account is not yours',
      description:
        'With the token from a confirmation mail, for its recipient: the account gets no more mail at this address, which is free again. Its data stays.',
      body: {
        name: 'ConfirmEmail',
        schema: protocol.confirmEmailRequest,
        examples: { usual: { token: LINK_TOKEN } },
      },
      answers: { 204: { description: 'The account does not have the address any more.' } },
      problems: ['invalid', 'link_not_valid'],
      async handle({ body, request }) {
        await addresses.disown(body.token, originOf({ request }))
        return { status: 204 }
      },
    }),
    operation({
      ...byLink,
      id: 'confirm_email',
      path: '/api/account/confirm-email/',
      summary: 'Confirm an email address',
      description:
        'With the token from the mailed link: for a new account, or for a changed address. A token can be used once, within three days, or until the account would be deleted.',
      body: {
        name: 'ConfirmEmail',
        schema: protocol.confirmEmailRequest,
        examples: { usual: { token: LINK_TOKEN } },
      },
      answers: { 204: { description: 'Confirmed.' } },
      problems: ['invalid', 'link_not_valid'],
      async handle({ body, request }) {
        await addresses.confirm(body.token, originOf({ request }))
        return { status: 204 }
      },
    }),
    operation({
      ...guarded,
      id: 'resend_confirmation',
      path: '/api/account/resend-confirmation/',
      summary: 'Resend the confirmation mail',
      description: 'Sent to each unconfirmed address of the account, up to three times per hour.',
      answers: { 202: { description: 'Queued, if an address is unconfirmed.' } },
      problems: ['too_many_requests'],
      async handle({ user }) {
        await addresses.resend(user)
        return { status: 202 }
      },
    }),
    operation({
      ...guarded,
      id: 'change_email',
      path: '/api/account/change-email/',
      summary: 'Change the email address',
      description:
        'Mails a link to the new address and a notice to the old one. The address changes when the link is used. Until then the new address is in `pending_email`.',
      body: {
        name: 'ChangeEmail',
        schema: protocol.changeEmailRequest,
        examples: { usual: { email: 'maria@example.org', password: PASSWORD } },
      },
      answers: { 202: { description: 'The mail to the new address is queued.' } },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle({ user, body: { email, password, factor }, request }) {
        await addresses.change(
          user,
          { email, password },
          originOf({ request }),
          stepUp(request, factor),
        )
        return { status: 202 }
      },
    }),
    operation({
      ...guarded,
      id: 'change_password',
      path: '/api/account/change-password/',
      summary: 'Change the password',
      description: 'Ends all other sessions and notifies the account by mail.',
      body: {
        name: 'ChangePassword',
        schema: protocol.changePasswordRequest,
        examples: { usual: { current_password: PASSWORD, new_password: NEXT_PASSWORD } },
      },
      answers: { 204: { description: 'Changed.' } },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle({ user, session, body, request }) {
        const { current_password, new_password, factor } = body
        const caller = { user, session }
        await passwordChanges.change(
          caller,
          current_password,
          new_password,
          originOf({ request }),
          stepUp(request, factor),
        )
        return { status: 204 }
      },
    }),
    operation({
      ...byLink,
      id: 'forgot_password',
      path: '/api/account/forgot-password/',
      summary: 'Request a password reset',
      description:
        'Mails a link if an account has this address, up to three times per hour. The response is the same for every address.',
      body: {
        name: 'ForgotPassword',
        schema: protocol.forgotPasswordRequest,
        examples: { usual: { email: 'maria@example.com' } },
      },
      answers: { 202: { description: 'A mail is queued if an account has this address.' } },
      problems: ['invalid'],
      async handle({ body, request }) {
        await passwordChanges.forgot(body.email, originOf({ request }))
        return { status: 202 }
      },
    }),
    operation({
      ...byLink,
      id: 'reset_password',
      path: '/api/account/reset-password/',
      summary: 'Reset the password',
      description:
        'With the token from the mailed link, which can be used once, within an hour. Ends all sessions and does not sign in.',
      body: {
        name: 'ResetPassword',
        schema: protocol.resetPasswordRequest,
        examples: { usual: { token: LINK_TOKEN, password: NEXT_PASSWORD } },
      },
      answers: { 204: { description: 'Changed.' } },
      problems: ['invalid', 'link_not_valid'],
      async handle({ body, request }) {
        await passwordChanges.reset(body.token, body.password, originOf({ request }))
        return { status: 204 }
      },
    }),
    operation({
      ...guarded,
      id: 'delete_account',
      path: '/api/account/delete/',
      summary: 'Delete your account',
      description:
        'Takes effect at once: sign-in fails, and tokens are rejected with `account_deleted`, on which devices delete their local data. All data is permanently erased soon after.',
      body: {
        name: 'DeleteAccount',
        schema: protocol.ownerRequest,
        examples: { usual: { password: PASSWORD } },
      },
      answers: { 202: { description: 'Deleted. The data is being erased.' } },
      problems: ['invalid', 'too_many_requests', ...STEP_UP],
      async handle({ user, body: { password, factor }, request }) {
        await deleteAccount(user, password, originOf({ request }), stepUp(request, factor))
        return { status: 202 }
      },
    }),
  ]

  function stepUp(request: Call['request'], proof: FactorProof | undefined): StepUp {
    return { proof, rp: relyingParty(publicUrl, request), origin: originOf({ request }) }
  }
}

/** Of what asks for a second factor, if the account has one. */
export const STEP_UP = ['factor_required', 'factor_not_valid'] as const

const finite = (limit: number) => (Number.isFinite(limit) ? limit : null)
