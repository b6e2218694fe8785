import type { ServerResponse } from 'node:http'
import { Readable, type Transform } from 'node:stream'
import * as z from 'zod'
import {
  type Category,
  factors as factorProtocol,
  type Profile,
  accounts as protocol,
  type Resource,
  resources,
  type Task,
} from '../../../protocol/index.ts'
import type { Accounts } from '../../accounts/accounts.ts'
import type { Events } from '../../accounts/events.ts'
import type { Factors } from '../../accounts/factors.ts'
import type { Log } from '../../runtime/log.ts'
import { turn } from '../../runtime/pauses.ts'
import type { ExportedDocument, Exports } from '../../store/export.ts'
import type { Store } from '../../sync/store.ts'
import { exampleDocument } from '../examples.ts'
import type { OpenAnswers } from '../open-answers.ts'
import { type Answer, type Call, type Operation, operation } from '../operation.ts'
import { originOf } from '../origin.ts'
import { pour } from '../send.ts'
import { EXAMPLE_ACCOUNT } from './accounts.ts'
import { BYTE_ORDER_MARK, csvRecord } from './csv.ts'
import { createExportPlaces } from './export-places.ts'
import { CALENDAR_BEGIN, CALENDAR_END, toDo } from './icalendar.ts'

interface Dependencies {
  accounts: Pick<Accounts, 'read'>
  events: Pick<Events, 'recordIfPossible'>
  factors: Pick<Factors, 'overview' | 'passkeys'>
  exports: Exports
  answers: Pick<OpenAnswers, 'add'>
  store: Pick<Store, 'find' | 'read'>
  log: Pick<Log, 'warn'>
}

const KINDS = Object.values<Resource>(resources)
/** Documents with the mark of those in the trash. */
const MARKED = new Map(
  KINDS.filter(({ singleton }) => !singleton).map((resource) => [
    resource,
    resource.document.extend({ deleted: z.boolean() }),
  ]),
)

/** In characters. Small, so that a slow reader takes some in each window (export-places.ts). */
const PIECE = 32 * 1024

/** Exports of all data of a user. Streamed, so their size does not matter. */
export function accountExportOperations(dependencies: Dependencies): Operation[] {
  const { accounts, factors, store } = dependencies
  const common = {
    tag: 'account',
    method: 'get',
    access: 'bearer',
    compressed: true,
    problems: ['too_many_requests'],
  } as const
  const places = createExportPlaces()
  return [
    operation({
      ...common,
      scopes: ['tasks:read', 'profile', 'account'],
      id: 'export_account',
      path: '/api/account/export/',
      summary: 'Export all data (JSON)',
      description:
        'Includes the trash, marked `deleted`. Like every export, it is cut off when the session ends or the token expires; the JSON is then incomplete.',
      answers: {
        200: {
          description: 'The account and all documents.',
          name: 'AccountExport',
          schema: z.strictObject({
            account: protocol.account,
            factors: factorProtocol.factors,
            passkeys: z.array(factorProtocol.passkey),
            ...ofKinds(schemaOf),
          }),
          parts: Object.fromEntries(
            [...MARKED].map(([{ name }, schema]) => [`${name}Exported`, schema]),
          ),
          example: {
            account: EXAMPLE_ACCOUNT,
            factors: { totp_since: null, passkeys: 0, recovery_codes: 0, required: false },
            passkeys: [],
            ...ofKinds(exampleOf),
          },
        },
      },
      async handle(call) {
        const { user } = call
        // What is known of them, and none of their secrets.
        const about = {
          account: await accounts.read(user),
          factors: await factors.overview(user),
          passkeys: await factors.passkeys(user),
        }
        return file(call, 'tasktide.json', 'application/json', inJson(user, about))
      },
    }),
    operation({
      ...common,
      scopes: ['tasks:read'],
      id: 'export_tasks_csv',
      path: '/api/account/export/tasks.csv',
      summary: 'Export tasks (CSV)',
      description:
        'RFC 4180, in UTF-8 with a byte order mark and a header line. Includes the trash, marked `deleted`. Text that a spreadsheet would evaluate as a formula gets an apostrophe in front: a `=`, `+`, `-` or `@`, full-width or not, at the beginning of the text or after a semicolon, a bar, a tab or a line break in it, also behind spaces and quotes; and a tab or line break at the beginning.',
      answers: {
        200: {
          description: 'The tasks.',
          name: 'TasksCsv',
          schema: z.string(),
          example: csvRecord(COLUMNS) + csvRecord(cellsOf(EXAMPLE_TASK, 'Travel', false)),
          mediaTypes: ['text/csv'],
        },
      },
      handle: async (call) => file(call, 'tasks.csv', 'text/csv; charset=utf-8', inCsv(call.user)),
    }),
    operation({
      ...common,
      scopes: ['tasks:read'],
      id: 'export_tasks_icalendar',
      path: '/api/account/export/tasks.ics',
      summary: 'Export tasks (iCalendar)',
      description:
        'VTODO components of RFC 5545, with an alarm at `remind_at` unless the task is completed. Excludes the trash. Due times are in the timezone of the profile.',
      answers: {
        200: {
          description: 'The tasks.',
          name: 'TasksCalendar',
          schema: z.string(),
          example: CALENDAR_BEGIN + toDo(EXAMPLE_TASK, 'Travel', 'Europe/Lisbon') + CALENDAR_END,
          mediaTypes: ['text/calendar'],
        },
      },
      async handle(call) {
        const found = await store.find(call.user, resources.profile, call.user)
        const { timezone } = found ? (JSON.parse(found.json) as Profile) : { timezone: 'UTC' }
        const text = inCalendar(call.user, timezone)
        return file(call, 'tasks.ics', 'text/calendar; charset=utf-8', text)
      },
    }),
  ]

  /** @throws Problem `too_many_requests` */
  async function file(
    call: Call,
    name: string,
    type: string,
    text: AsyncIterable<string>,
  ): Promise<Answer> {
    const { request, user } = call
    if (request.method !== 'HEAD') await places.enter(user, request.res!)
    const details = { file: name }
    const event = { user, kind: 'export', origin: originOf(call), details } as const
    await dependencies.events.recordIfPossible(event)
    return {
      status: 200,
      headers: {
        'Content-Type': type,
        'Content-Disposition': `attachment; filename="${name}"`,
      },
      stream(response, compressor) {
        if (!response.destroyed) void write(call, response, text, compressor)
      },
    }
  }

  /** Writes as fast as the client reads, until the session or the token ends. */
  async function write(
    call: Call,
    response: ServerResponse,
    text: AsyncIterable<string>,
    compressor?: Transform,
  ) {
    const { user } = call
    const settle = dependencies.answers.add(call, () => response.destroy())
    try {
      await dependencies.exports.takeTurn(user, async () => {
        if (!response.destroyed) await pour(Readable.from(inPieces(text)), response, compressor)
      })
    } catch (error) {
      // The status is already sent: the client sees the missing end of the body.
      response.destroy()
      if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE')
        dependencies.log.warn({ error, user }, 'an export was interrupted')
    } finally {
      settle()
    }
  }

  async function* inJson(user: string, about: object): AsyncGenerator<string> {
    yield JSON.stringify(about).slice(0, -1)
    for (const resource of KINDS) {
      yield `,"${resource.name}":${resource.singleton ? '' : '['}`
      let separator = ''
      for await (const page of dependencies.exports.pages(user, resource)) {
        for (const document of page) {
          yield separator + jsonOf(resource, document)
          separator = ','
        }
      }
      // The profile of an account that is being erased may be deleted already.
      if (resource.singleton) yield separator ? '' : 'null'
      else yield ']'
    }
    yield '}'
  }

  async function* inCsv(user: string): AsyncGenerator<string> {
    yield BYTE_ORDER_MARK + csvRecord(COLUMNS)
    for await (const page of tasksOf(user))
      for (const { task, category, deleted } of page)
        yield csvRecord(cellsOf(task, category, deleted))
  }

  async function* inCalendar(user: string, timezone: string): AsyncGenerator<string> {
    yield CALENDAR_BEGIN
    for await (const page of tasksOf(user))
      for (const { task, category, deleted } of page)
        if (!deleted) yield toDo(task, category, timezone)
    yield CALENDAR_END
  }

  async function* tasksOf(user: string) {
    for await (const page of dependencies.exports.pages(user, resources.tasks)) {
      const tasks = page.map(({ json, deleted }) => ({ task: JSON.parse(json) as Task, deleted }))
      const ids = new Set(tasks.flatMap(({ task }) => task.category_id ?? []))
      const categories = await store.read(user, resources.categories, [...ids])
      yield tasks.map(({ task, deleted }) => {
        const category = categories.get(task.category_id ?? '')?.document as Category | undefined
        return { task, deleted, category: category?.name }
      })
    }
  }
}

/** Joins parts to chunks for one write each, and yields to other requests in between. */
async function* inPieces(text: AsyncIterable<string>): AsyncGenerator<string> {
  let piece = ''
  for await (const part of text) {
    piece += part
    if (piece.length < PIECE) continue
    yield piece
    piece = ''
    await turn()
  }
  yield piece
}

function ofKinds<T>(partOf: (resource: Resource) => T): Record<string, T> {
  return Object.fromEntries(KINDS.map((resource) => [resource.name, partOf(resource)]))
}

function schemaOf(resource: Resource): z.ZodType {
  const marked = MARKED.get(resource)
  return marked ? z.array(marked) : resource.document.nullable()
}

function exampleOf(resource: Resource): unknown {
  const document = exampleDocument(resource)
  return resource.singleton ? document : [{ ...document, deleted: false }]
}

function jsonOf({ singleton }: Resource, { json, deleted }: ExportedDocument): string {
  return singleton ? json : `${json.slice(0, -1)},"deleted":${deleted}}`
}

/** The fields of a task, with the name of the category instead of its id. */
const COLUMNS = [
  'id',
  'title',
  'description',
  'category',
  'priority',
  'due_date',
  'due_time',
  'remind_at',
  'completed',
  'completed_at',
  'created_at',
  'updated_at',
  'deleted',
]

const cellsOf = (task: Task, category: string | undefined, deleted: boolean) =>
  COLUMNS.map((column) => {
    if (column === 'category') return category ?? null
    return column === 'deleted' ? deleted : task[column as 'title']
  })

const EXAMPLE_TASK = exampleDocument(resources.tasks) as Task
