import * as z from 'zod'
import { account, email, role } from './accounts.ts'
import { id, record, text } from './field.ts'

/** Schemas of the administration endpoints: accounts, never their documents. */

const moment = z.iso.datetime()

export const managedAccount = z.strictObject({
  id: account.shape.id,
  username: z.string(),
  email: z.string(),
  email_verified_at: moment.nullable().describe('When the address was confirmed.'),
  role,
  is_active: z.boolean().describe('Whether the user can sign in.'),
  created_at: moment,
  deleted_at: moment.nullable().describe('When it was deleted. Its data is being erased.'),
  last_seen_at: moment.nullable().describe('The last request of a signed-in device.'),
})
export type ManagedAccount = z.output<typeof managedAccount>

export const accountSearch = text('The beginning of a username or an email address.', {
  max: 254,
}).schema.transform((value) => value.normalize('NFKC'))

export const roleChange = z.strictObject({ role })

export const invitationRequest = z.strictObject({
  email: email
    .optional()
    .describe('The only address that may use the invitation. Default: any address.'),
})

export const invitation = z.strictObject({
  invite: z.string().describe('The field `invite` of a registration. Can be used once.'),
  url: z.string().optional().describe('The page of the web app to register on.'),
  expires_at: moment,
})
export type Invitation = z.output<typeof invitation>

export const action = z.enum([
  'create',
  'invite',
  'deactivate',
  'reactivate',
  'change_role',
  'end_sessions',
  'resend_confirmation',
  'reset_password',
  'remove_factors',
  'delete_unconfirmed',
])
export type Action = z.output<typeof action>

export const auditEntry = z.strictObject({
  id: id(),
  actor_id: id()
    .nullable()
    .describe('The acting account; null for the command line and for the server itself.'),
  actor: z.string().describe('The username of the actor at that time.'),
  action,
  account_id: id().describe('The affected account.'),
  account: z.string().describe('The username of the account at that time.'),
  details: record('The change: `{"from": "user", "to": "support"}`.', { max: 10_000 }).schema,
  request_id: z.string().nullable().describe('The id of the request in the server logs.'),
  address: z.string().nullable().describe('The IP address of the request.'),
  created_at: moment,
})
export type AuditEntry = z.output<typeof auditEntry>
