import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as z from 'zod'
import {
  type ExportedEvent,
  events as protocol,
  type SecurityEvent,
} from '../../../protocol/index.ts'
import type { Events } from '../../accounts/events.ts'
import { numberedPages } from '../documents/list-parameters.ts'
import type { OpenAnswers } from '../open-answers.ts'
import { type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { answerPage, pageOf } from './pages.ts'

interface Dependencies {
  events: Events
  answers: Pick<OpenAnswers, 'add'>
  publicUrl: string | undefined
}

const EXAMPLE: SecurityEvent = {
  id: '0190a5c3-11d2-7a0c-8f53-0d4a5b1c2e3f',
  kind: 'sign_in',
  outcome: 'refused',
  network: '203.0.113.0/24',
  device: 'Firefox on Linux',
  details: {},
  request_id: 'a3c1b5d0-6f0e-4c11-9d5c-2f8f5f0f7a10',
  times: 3,
  created_at: '2026-11-22T08:30:00.000Z',
  last_at: '2026-11-22T08:32:00.000Z',
}

const EXPORTED: ExportedEvent = {
  account_id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
  actor_id: null,
  ...EXAMPLE,
}

const lineOf = (event: ExportedEvent) => `${JSON.stringify(event)}\n`

/** The security events of an account for its owner, and those of all accounts for administrators. */
export function accountEventOperations({ events, answers, publicUrl }: Dependencies): Operation[] {
  return [
    operation({
      tag: 'account',
      access: 'bearer',
      scopes: ['account'],
      id: 'list_events',
      method: 'get',
      path: '/api/account/events/',
      summary: 'List your security events',
      description:
        'Sign-ins, refusals, changes of the password and the address, exports, and what staff read or changed: the newest first. Like events of one origin within an hour are one, and 50 of each kind and outcome are kept.',
      query: [...numberedPages],
      answers: { 200: pageOf('SecurityEventList', protocol.securityEvent, EXAMPLE) },
      problems: ['not_found'],
      handle: (call) =>
        answerPage(publicUrl, call, (_filter, limit, offset) =>
          events.list(call.user, limit, offset),
        ),
    }),
    operation({
      tag: 'administration',
      access: 'bearer',
      permission: 'audit.read',
      id: 'export_events',
      method: 'get',
      path: '/api/admin/events/export.jsonl',
      summary: 'Export security events',
      description:
        'Those of all accounts, one JSON object per line, the oldest first. Cut off when the session ends or the token expires: continue with `since`.',
      query: [
        {
          name: 'since',
          description: 'Only events of which the last one is later than this. Default: all.',
          schema: z.iso.datetime(),
        },
      ],
      answers: {
        200: {
          description: 'The events.',
          name: 'SecurityEvents',
          schema: z.string(),
          example: lineOf(EXPORTED),
          mediaTypes: ['application/jsonl'],
        },
      },
      problems: [],
      async handle(call) {
        const { user } = call
        const details = { file: 'events.jsonl' }
        await events.recordIfPossible({ user, kind: 'export', origin: originOf(call), details })
        const since = new Date((call.query.since as string | undefined) ?? 0)
        return {
          status: 200,
          headers: {
            'Content-Type': 'application/jsonl',
            'Content-Disposition': 'attachment; filename="events.jsonl"',
          },
          stream(response) {
            if (response.destroyed) return // disconnected meanwhile
            const settle = answers.add(call, () => response.destroy())
            response.once('close', settle)
            // The client sees an interruption by the missing end of the body.
            pipeline(Readable.from(lines(since)), response).catch(() => response.destroy())
          },
        }
      },
    }),
  ]

  async function* lines(since: Date): AsyncGenerator<string> {
    for await (const page of events.all(since)) yield page.map(lineOf).join('')
  }
}
