import { accounts as protocol } from '../../../protocol/index.ts'
import type { Accounts } from '../../accounts/accounts.ts'
import type { Addresses } from '../../accounts/addresses.ts'
import type { DeleteAccount } from '../../accounts/deletion.ts'
import type { PasswordChanges } from '../../accounts/password-changes.ts'
import { type Operation, operation } from '../operation.ts'
import { EXAMPLE_ACCOUNT } from './accounts.ts'

interface Dependencies {
  accounts: Pick<Accounts, 'read'>
  addresses: Addresses
  passwordChanges: PasswordChanges
  deleteAccount: DeleteAccount
}

const LINK_TOKEN = 'q0Jm5xJtYb2m3nZkS8wq0c7vE1hRrT4uL9dXfGyAa6I'
const PASSWORD = 'a ferry to Lisbon'
const NEXT_PASSWORD = 'an early train to Porto'

/** An account after it was made: its address, its password, its end. */
export function accountLifeOperations({
  accounts,
  addresses,
  passwordChanges,
  deleteAccount,
}: Dependencies): Operation[] {
  const signedIn = { tag: 'account', access: 'bearer' } as const
  // A token that somebody found is to be no way to guess the password, nor to flood a mailbox.
  const guarded = { ...signedIn, method: 'post', limit: 'account' } as const
  const byLink = { tag: 'account', method: 'post', access: 'limited' } as const
  return [
    operation({
      ...signedIn,
      id: 'read_account',
      method: 'get',
      path: '/api/account/',
      summary: 'Read the account',
      answers: {
        200: {
          description: 'The account.',
          name: 'Account',
          schema: protocol.account,
          example: EXAMPLE_ACCOUNT,
        },
      },
      problems: [],
      handle: async ({ user }) => ({ status: 200, body: await accounts.read(user) }),
    }),
    operation({
      ...byLink,
      id: 'confirm_email',
      path: '/api/account/confirm-email/',
      summary: 'Confirm an email address',
      description:
        'With the token that was mailed there: to the address of a new account, or to one that is to take the place of the former. A token works once, for three days.',
      body: {
        name: 'ConfirmEmail',
        schema: protocol.confirmEmailRequest,
        examples: { usual: { token: LINK_TOKEN } },
      },
      answers: { 204: { description: 'Confirmed.' } },
      problems: ['invalid', 'link_not_valid'],
      async handle({ body }) {
        await addresses.confirm(body.token)
        return { status: 204 }
      },
    }),
    operation({
      ...guarded,
      id: 'resend_confirmation',
      path: '/api/account/resend-confirmation/',
      summary: 'Get the mail that confirms an address once more',
      description:
        'Sent to each address of the account that waits to be confirmed, three times an hour at most.',
      answers: { 202: { description: 'It is on its way, if there is anything to confirm.' } },
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
        'It changes when the new address is confirmed by the link that is mailed there; the old one is told. Until then the new one is `pending_email`.',
      body: {
        name: 'ChangeEmail',
        schema: protocol.changeEmailRequest,
        examples: { usual: { email: 'maria@example.org', password: PASSWORD } },
      },
      answers: { 202: { description: 'The link is on its way to the new address.' } },
      problems: ['invalid', 'too_many_requests'],
      async handle({ user, body: { email, password } }) {
        await addresses.change(user, email, password)
        return { status: 202 }
      },
    }),
    operation({
      ...guarded,
      id: 'change_password',
      path: '/api/account/change-password/',
      summary: 'Change the password',
      description: 'All other sessions end, and the address of the account is told.',
      body: {
        name: 'ChangePassword',
        schema: protocol.changePasswordRequest,
        examples: { usual: { current_password: PASSWORD, new_password: NEXT_PASSWORD } },
      },
      answers: { 204: { description: 'Changed.' } },
      problems: ['invalid', 'too_many_requests'],
      async handle({ user, session, body }) {
        await passwordChanges.change({ user, session }, body.current_password, body.new_password)
        return { status: 204 }
      },
    }),
    operation({
      ...byLink,
      id: 'forgot_password',
      path: '/api/account/forgot-password/',
      summary: 'Get a link that sets another password',
      description:
        'The answer is the same for every address. A link is mailed if an account has the address, three times an hour at most.',
      body: {
        name: 'ForgotPassword',
        schema: protocol.forgotPasswordRequest,
        examples: { usual: { email: 'maria@example.com' } },
      },
      answers: { 202: { description: 'If an account has this address, a link is on its way.' } },
      problems: ['invalid'],
      async handle({ body }) {
        await passwordChanges.forgot(body.email)
        return { status: 202 }
      },
    }),
    operation({
      ...byLink,
      id: 'reset_password',
      path: '/api/account/reset-password/',
      summary: 'Set another password by the link that was mailed',
      description:
        'All sessions end. It signs nobody in: that takes the new password. A token works once, for an hour.',
      body: {
        name: 'ResetPassword',
        schema: protocol.resetPasswordRequest,
        examples: { usual: { token: LINK_TOKEN, password: NEXT_PASSWORD } },
      },
      answers: { 204: { description: 'Changed.' } },
      problems: ['invalid', 'link_not_valid'],
      async handle({ body }) {
        await passwordChanges.reset(body.token, body.password)
        return { status: 204 }
      },
    }),
    operation({
      ...guarded,
      id: 'delete_account',
      path: '/api/account/delete/',
      summary: 'Delete the account',
      description:
        'At once nobody can sign in, and every token is refused with `account_deleted`, at which devices forget what they keep. Everything in it is erased soon after, for good.',
      body: {
        name: 'DeleteAccount',
        schema: protocol.deleteAccountRequest,
        examples: { usual: { password: PASSWORD } },
      },
      answers: { 202: { description: 'Deleted, and being erased.' } },
      problems: ['invalid', 'too_many_requests'],
      async handle({ user, body }) {
        await deleteAccount(user, body.password)
        return { status: 202 }
      },
    }),
  ]
}
