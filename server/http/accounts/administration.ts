import {
  type AuditEntry,
  accounts,
  id,
  type ManagedAccount,
  Problem,
  type ProblemCode,
  administration as protocol,
  type Role,
} from '../../../protocol/index.ts'
import type { AccountFilter, Administration } from '../../accounts/administration.ts'
import type { Actor, Audit, AuditFilter } from '../../accounts/audit.ts'
import type { Permission } from '../../accounts/permissions.ts'
import { numberedPages } from '../documents/list-parameters.ts'
import { boolean } from '../documents/url-values.ts'
import { type Call, type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { answerPage, pageOf } from './pages.ts'

interface Dependencies {
  administration: Administration
  audit: Audit
  /** The public URL, for links. Without it, the host of the request is used. */
  publicUrl: string | undefined
}

const ACCOUNT_ID = id()

const EXAMPLE: ManagedAccount = {
  id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
  username: 'maria',
  email: 'maria@example.com',
  email_verified_at: null,
  role: 'user',
  is_active: true,
  created_at: '2026-11-22T08:30:00.000Z',
  deleted_at: null,
  last_seen_at: '2026-11-22T08:31:00.000Z',
}

const AUDIT_EXAMPLE: AuditEntry = {
  id: '0190a5c3-11d2-7a0c-8f53-0d4a5b1c2e3f',
  actor_id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398e',
  actor: 'olga',
  action: 'change_role',
  account_id: EXAMPLE.id,
  account: EXAMPLE.username,
  details: { from: 'user', to: 'support' },
  request_id: 'a3c1b5d0-6f0e-4c11-9d5c-2f8f5f0f7a10',
  address: '203.0.113.7',
  created_at: '2026-11-22T08:32:00.000Z',
}

/** Operations on other users' accounts, each with a permission. None of them reads documents. */
export function administrationOperations({
  administration,
  audit,
  publicUrl,
}: Dependencies): Operation[] {
  const common = { tag: 'administration', access: 'bearer' } as const
  return [
    operation({
      ...common,
      id: 'list_accounts',
      permission: 'accounts.read',
      method: 'get',
      path: '/api/admin/accounts/',
      summary: 'List accounts',
      description: 'Sorted by creation, the newest first.',
      query: [
        ...numberedPages,
        {
          name: 'search',
          description:
            'Filters by the beginning of the username or the email address, ignoring case.',
          schema: protocol.accountSearch,
        },
        { name: 'role', description: 'Filters by role.', schema: accounts.role },
        {
          name: 'is_active',
          description: 'Filters active (true) or deactivated (false) accounts.',
          schema: boolean(),
          json: { type: 'boolean' },
        },
      ],
      answers: { 200: pageOf('ManagedAccountList', protocol.managedAccount, EXAMPLE) },
      problems: ['not_found'],
      handle: (call) =>
        answerPage(publicUrl, call, (filter: AccountFilter, limit, offset) =>
          administration.list(actorOf(call), filter, limit, offset),
        ),
    }),
    operation({
      ...common,
      id: 'get_managed_account',
      permission: 'accounts.read',
      method: 'get',
      path: '/api/admin/accounts/{id}/',
      summary: 'Get an account',
      answers: {
        200: {
          description: 'The account.',
          name: 'ManagedAccount',
          schema: protocol.managedAccount,
          example: EXAMPLE,
        },
      },
      problems: ['not_found'],
      async handle(call) {
        const account = await administration.read(actorOf(call), accountId(call.params))
        if (!account) throw noAccount()
        return { status: 200, body: account }
      },
    }),
    operation({
      ...common,
      id: 'invite',
      permission: 'accounts.invite',
      method: 'post',
      path: '/api/admin/invites/',
      summary: 'Create an invitation',
      description:
        'For one account, within a week. With `REGISTRATION=invite` nobody can register without one. It is not mailed: give it to whom it is for. It ends when you lose the permission.',
      body: {
        name: 'InvitationRequest',
        schema: protocol.invitationRequest,
        examples: { usual: { email: 'maria@example.com' } },
      },
      answers: {
        201: {
          description: 'The invitation.',
          name: 'Invitation',
          schema: protocol.invitation,
          example: {
            invite: 'eyJpZCI6IjAxOTBhNWMyLSJ9.3v1cQpY0y8cD6f0nB5n5m0bq2o4yZrHh9x1sQ0aV7tM',
            url: 'https://tasks.example.com/#invite=eyJpZCI6IjAxOTBhNWMyLSJ9.3v1cQpY0y8cD6f0nB5n5m0bq2o4yZrHh9x1sQ0aV7tM',
            expires_at: '2026-11-29T08:30:00.000Z',
          },
        },
      },
      problems: ['invalid'],
      async handle(call: Call<{ email?: string | undefined }>) {
        const invitation = await administration.invite(actorOf(call), call.body.email)
        const url = publicUrl && `${publicUrl}/#invite=${invitation.invite}`
        return {
          status: 201,
          body: { ...invitation, ...(url && { url }) },
        }
      },
    }),
    accountAction('deactivate_account', 'deactivate', 'accounts.deactivate', {
      summary: 'Deactivate an account',
      description:
        'Ends all its sessions and prevents sign-in. No data is lost. Notifies the user by mail. You cannot deactivate yourself.',
      act: administration.deactivate,
    }),
    accountAction('reactivate_account', 'reactivate', 'accounts.deactivate', {
      summary: 'Reactivate an account',
      description: 'The user can sign in again.',
      act: administration.reactivate,
    }),
    accountAction('end_sessions_of_account', 'end-sessions', 'accounts.end_sessions', {
      summary: 'End all sessions of an account',
      description: 'Signs out all its devices. They can sign in again.',
      act: administration.endSessions,
    }),
    accountAction(
      'resend_confirmation_of_account',
      'resend-confirmation',
      'accounts.resend_confirmation',
      {
        summary: 'Resend the confirmation mail of an account',
        description: 'Up to three times per hour, including those requested by the user.',
        problems: ['too_many_requests'],
        act: administration.resendConfirmation,
      },
    ),
    operation({
      ...common,
      id: 'change_role_of_account',
      permission: 'accounts.change_role',
      method: 'put',
      path: '/api/admin/accounts/{id}/role/',
      summary: 'Change the role of an account',
      description:
        'Takes effect on every node within a second. You cannot change your own role, so at least one admin is left.',
      body: {
        name: 'RoleChange',
        schema: protocol.roleChange,
        examples: { usual: { role: 'support' } },
      },
      answers: { 204: { description: 'Changed.' } },
      problems: ['not_found'],
      async handle(call: Call<{ role: Role }>) {
        await administration.changeRole(actorOf(call), accountId(call.params), call.body.role)
        return { status: 204 }
      },
    }),
    operation({
      ...common,
      id: 'list_audit_entries',
      permission: 'audit.read',
      method: 'get',
      path: '/api/admin/audit/',
      summary: 'List audit log entries',
      description:
        'Administrative actions on accounts, the newest first. Entries cannot be changed.',
      query: [
        ...numberedPages,
        { name: 'account_id', description: 'Filters by the affected account.', schema: id() },
        { name: 'actor_id', description: 'Filters by the acting account.', schema: id() },
        { name: 'action', description: 'Filters by action.', schema: protocol.action },
      ],
      answers: { 200: pageOf('AuditEntryList', protocol.auditEntry, AUDIT_EXAMPLE) },
      problems: ['not_found'],
      handle: (call) =>
        answerPage(publicUrl, call, (filter: AuditFilter, limit, offset) =>
          audit.list(filter, limit, offset),
        ),
    }),
  ]

  /** An action on an account, with an empty response. */
  function accountAction(
    id: string,
    name: string,
    permission: Permission,
    about: {
      summary: string
      description?: string
      problems?: readonly ProblemCode[]
      act: (actor: Actor, id: string) => Promise<void>
    },
  ): Operation {
    const { act, problems = [], ...words } = about
    return operation({
      ...common,
      ...words,
      id,
      permission,
      method: 'post',
      path: `/api/admin/accounts/{id}/${name}/`,
      answers: { 204: { description: 'Done, or nothing to change.' } },
      problems: ['not_found', ...problems],
      async handle(call) {
        await act(actorOf(call), accountId(call.params))
        return { status: 204 }
      },
    })
  }
}

/** The caller, for the audit log. */
function actorOf({ user, request }: Pick<Call, 'user' | 'request'>): Actor {
  return { user, ...originOf({ request }) }
}

function accountId(params: Call['params']): string {
  const parsed = ACCOUNT_ID.safeParse(params.id)
  if (!parsed.success) throw noAccount()
  return parsed.data
}

const noAccount = () =>
  new Problem('not_found', 'No account has this id; list the accounts for their ids.')
