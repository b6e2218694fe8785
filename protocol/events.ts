import * as z from 'zod'
import { id } from './field.ts'

/** Schemas of security events: what happened to an account, or was tried. */

const moment = z.iso.datetime()

const eventKind = z.enum([
  'registered',
  'sign_in',
  'sign_out',
  'session_ended',
  'token_reused',
  'token_created',
  'password_change',
  'password_reset_request',
  'password_reset',
  'email_change_request',
  'email_change',
  'email_confirmed',
  'email_disowned',
  'factor',
  'factor_change',
  'export',
  'deletion',
  'read_by_staff',
  'changed_by_staff',
])
export type EventKind = z.output<typeof eventKind>

const eventOutcome = z.enum(['done', 'refused'])

export const securityEvent = z.strictObject({
  id: id(),
  kind: eventKind,
  outcome: eventOutcome,
  network: z
    .string()
    .nullable()
    .describe(
      'The network of the request: `203.0.113.0/24` or `2001:db8:7:0::/48`. Null: the command line.',
    ),
  device: z.string().nullable().describe('The user agent in words: `Firefox on Linux`.'),
  details: z
    .record(z.string(), z.string())
    .describe('More, depending on the kind: `{"format": "csv"}`.'),
  request_id: z
    .string()
    .nullable()
    .describe('The id of the request in the server logs; of the last one, if there were several.'),
  times: z
    .int()
    .describe('How often it happened: like events of the same origin within an hour are one.'),
  created_at: moment.describe('The first time.'),
  last_at: moment.describe('The last time.'),
})
export type SecurityEvent = z.output<typeof securityEvent>

/** What clients read of a page. */
export const securityEvents = z.object({ results: z.array(securityEvent) })

/** As exported for administrators. */
const exportedEvent = securityEvent.extend({
  account_id: id(),
  actor_id: id().nullable().describe('Who did it, if it was not the owner: staff.'),
})
export type ExportedEvent = z.output<typeof exportedEvent>
