import * as z from 'zod'
import { account, role } from './accounts.ts'
import { id, record, text } from './field.ts'

/** What the administration endpoints take and give: accounts, and never what is in them. */

const moment = z.iso.datetime()

export const managedAccount = z.strictObject({
  id: account.shape.id,
  username: z.string(),
  email: z.string(),
  email_verified_at: moment.nullable().describe('When the address was confirmed.'),
  role,
  is_active: z.boolean().describe('Whether its owner may sign in.'),
  created_at: moment,
  deleted_at: moment.nullable().describe('When its owner deleted it: it is being erased.'),
  last_seen_at: moment
    .nullable()
    .describe('When a device that may be signed in was last heard of.'),
})
export type ManagedAccount = z.output<typeof managedAccount>

export const accountSearch = text('How a username or an email address begins.', {
  max: 254,
}).schema.transform((value) => value.normalize('NFKC'))

export const roleChange = z.strictObject({ role })

export const action = z.enum([
  'create',
  'deactivate',
  'reactivate',
  'change_role',
  'end_sessions',
  'resend_confirmation',
  'reset_password',
])
export type Action = z.output<typeof action>

export const auditEntry = z.strictObject({
  id: id(),
  actor_id: id().nullable().describe('Who did it; null for the command line of the server.'),
  actor: z.string().describe('The username that the actor had then.'),
  action,
  account_id: id().describe('To which account.'),
  account: z.string().describe('The username that the account had then.'),
  details: record('What changed: `{"from": "user", "to": "support"}`.', { max: 10_000 }).schema,
  request_id: z.string().nullable().describe('Names the request in the logs of the server.'),
  address: z.string().nullable().describe('The network address that it came from.'),
  created_at: moment,
})
export type AuditEntry = z.output<typeof auditEntry>
