import * as z from 'zod'
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
import { pageLinks } from '../documents/list-answer.ts'
import { boolean, numberedPages, readNumberedPage } from '../documents/list-parameters.ts'
import { type Call, type Operation, operation } from '../operation.ts'

interface Dependencies {
  administration: Administration
  audit: Audit
  /** The address that clients know the server by, for links. Empty: the one they called. */
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

/** What may be done to the accounts of others, each with a permission. Their tasks are not among it. */
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
      description: 'The newest first.',
      query: [
        ...numberedPages,
        {
          name: 'search',
          description: 'Only where the username or the email address begins so, in either case.',
          schema: protocol.accountSearch,
        },
        { name: 'role', description: 'Only those with this role.', schema: accounts.role },
        {
          name: 'is_active',
          description: 'Only those that may (true) or may not (false) sign in.',
          schema: boolean(),
          json: { type: 'boolean' },
        },
      ],
      answers: { 200: pageOf('ManagedAccountList', protocol.managedAccount, EXAMPLE) },
      problems: ['not_found'],
      handle: ({ query, request }) =>
        answerPage(query, request, (filter: AccountFilter, limit, offset) =>
          administration.list(filter, limit, offset),
        ),
    }),
    operation({
      ...common,
      id: 'get_managed_account',
      permission: 'accounts.read',
      method: 'get',
      path: '/api/admin/accounts/{id}/',
      summary: 'Read an account',
      answers: {
        200: {
          description: 'The account.',
          name: 'ManagedAccount',
          schema: protocol.managedAccount,
          example: EXAMPLE,
        },
      },
      problems: ['not_found'],
      async handle({ params }) {
        const account = await administration.find(accountId(params))
        if (!account) throw noAccount()
        return { status: 200, body: account }
      },
    }),
    deed('deactivate_account', 'deactivate', 'accounts.deactivate', {
      summary: 'Deactivate an account',
      description:
        'All its sessions end at once and nobody can sign in; nothing of it is lost. Its owner is told by mail. Nobody deactivates themselves.',
      act: administration.deactivate,
    }),
    deed('reactivate_account', 'reactivate', 'accounts.deactivate', {
      summary: 'Reactivate an account',
      description: 'Its owner can sign in again.',
      act: administration.reactivate,
    }),
    deed('end_sessions_of_account', 'end-sessions', 'accounts.end_sessions', {
      summary: 'End all sessions of an account',
      description: 'All its devices are signed out; they may sign in again.',
      act: administration.endSessions,
    }),
    deed('resend_confirmation_of_account', 'resend-confirmation', 'accounts.resend_confirmation', {
      summary: 'Send the mail again that asks to confirm the address',
      description: 'Three times an hour at most, those that the owner asks for included.',
      problems: ['too_many_requests'],
      act: administration.resendConfirmation,
    }),
    operation({
      ...common,
      id: 'change_role_of_account',
      permission: 'accounts.change_role',
      method: 'put',
      path: '/api/admin/accounts/{id}/role/',
      summary: 'Change the role of an account',
      description:
        'In force everywhere within a second. Nobody changes their own, so there is always an admin left.',
      body: {
        name: 'RoleChange',
        schema: protocol.roleChange,
        examples: { usual: { role: 'support' } },
      },
      answers: { 204: { description: 'That is its role now.' } },
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
      summary: 'Read what was done to accounts by others than their owners',
      description: 'The newest first. Entries are never changed.',
      query: [
        ...numberedPages,
        { name: 'account_id', description: 'Only what was done to this account.', schema: id() },
        { name: 'actor_id', description: 'Only what this account did.', schema: id() },
        { name: 'action', description: 'Only this.', schema: protocol.action },
      ],
      answers: { 200: pageOf('AuditEntryList', protocol.auditEntry, AUDIT_EXAMPLE) },
      problems: ['not_found'],
      handle: ({ query, request }) =>
        answerPage(query, request, (filter: AuditFilter, limit, offset) =>
          audit.list(filter, limit, offset),
        ),
    }),
  ]

  /** Something that is done to an account, and answered with nothing. */
  function deed(
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
      answers: { 204: { description: 'Done, or so already.' } },
      problems: ['not_found', ...problems],
      async handle(call) {
        await act(actorOf(call), accountId(call.params))
        return { status: 204 }
      },
    })
  }

  async function answerPage<F extends object, T>(
    query: Call['query'],
    request: Call['request'],
    list: (
      filter: F,
      limit: number,
      offset: number,
    ) => Promise<{ count: number; results: readonly T[] }>,
  ) {
    const { page, page_size, ...filter } = query
    const numbered = readNumberedPage({ page, page_size })
    const { count, results } = await list(filter as F, numbered.size, numbered.offset)
    const links = pageLinks(publicUrl, request, { ...numbered, count })
    return { status: 200, body: { count, ...links, results } }
  }
}

/** Who calls, for the audit log. */
function actorOf({ user, request }: Pick<Call, 'user' | 'request'>): Actor {
  const { ip } = request
  return { user, request_id: request.res!.locals.requestId, ...(ip && { address: ip }) }
}

function accountId(params: Call['params']): string {
  const parsed = ACCOUNT_ID.safeParse(params.id)
  if (!parsed.success) throw noAccount()
  return parsed.data
}

const noAccount = () => new Problem('not_found', 'There is no account with this id.')

function pageOf(name: string, schema: z.ZodType, example: object) {
  return {
    description: 'A page.',
    name,
    schema: z.strictObject({
      count: z.int().describe('How many there are on all pages.'),
      next: z.string().nullable().describe('Where the next page is.'),
      previous: z.string().nullable().describe('Where the previous page is.'),
      results: z.array(schema),
    }),
    example: { count: 1, next: null, previous: null, results: [example] },
  }
}
