import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as othersHadATurn } from 'node:timers/promises'
import * as z from 'zod'
import {
  type Account,
  type Category,
  Problem,
  type Profile,
  accounts as protocol,
  type Resource,
  resources,
  type Task,
} from '../../../protocol/index.ts'
import type { Accounts } from '../../accounts/accounts.ts'
import type { Log } from '../../runtime/log.ts'
import type { ExportedDocument, Exports } from '../../store/export.ts'
import type { Store } from '../../sync/store.ts'
import { exampleDocument } from '../examples.ts'
import type { OpenAnswers } from '../open-answers.ts'
import { type Answer, type Call, type Operation, operation } from '../operation.ts'
import { EXAMPLE_ACCOUNT } from './accounts.ts'
import { BYTE_ORDER_MARK, csvRecord } from './csv.ts'
import { CALENDAR_BEGIN, CALENDAR_END, toDo } from './icalendar.ts'

interface Dependencies {
  accounts: Pick<Accounts, 'read'>
  exports: Exports
  answers: Pick<OpenAnswers, 'add'>
  store: Pick<Store, 'find' | 'read'>
  log: Pick<Log, 'warn'>
}

const KINDS = Object.values<Resource>(resources)

/** How many people may be taking theirs along at a time, on this node. */
const MAX_PEOPLE = 20
const RETRY_SECONDS = 30
/** In letters. */
const PIECE = 64 * 1024

/** Everything that a person has, to be taken along. Written while it is read, so it may be much. */
export function accountExportOperations(dependencies: Dependencies): Operation[] {
  const { accounts, store } = dependencies
  const common = {
    tag: 'account',
    method: 'get',
    access: 'bearer',
    problems: ['too_many_requests'],
  } as const
  const open = new Map<ServerResponse, string>()
  return [
    operation({
      ...common,
      id: 'export_account',
      path: '/api/account/export/',
      summary: 'Take everything along, as JSON',
      description:
        'The trash is in it, marked `deleted`. Like all exports it is cut off when the session ends or the token runs out, and has no end then.',
      answers: {
        200: {
          description: 'The account, and all documents of every kind.',
          name: 'AccountExport',
          schema: z.strictObject({ account: protocol.account, ...ofKinds(schemaOf) }),
          example: { account: EXAMPLE_ACCOUNT, ...ofKinds(exampleOf) },
        },
      },
      async handle(call) {
        const account = await accounts.read(call.user)
        return file(call, 'tasktide.json', 'application/json', inJson(call.user, account))
      },
    }),
    operation({
      ...common,
      id: 'export_tasks_csv',
      path: '/api/account/export/tasks.csv',
      summary: 'Take the tasks along, as CSV',
      description:
        'As RFC 4180 has it, in UTF-8 behind a byte order mark, with the names of the columns in the first line. The trash is in it, marked `deleted`. What a spreadsheet would take for a formula has an apostrophe before it: a `=`, `+`, `-` or `@`, full-width or not, at the beginning of a text or behind a semicolon, a tab or a line break (and spaces) in it; and a tab or carriage return at the beginning.',
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
      id: 'export_tasks_icalendar',
      path: '/api/account/export/tasks.ics',
      summary: 'Take the tasks along, as iCalendar',
      description:
        'To-dos (VTODO) as RFC 5545 has them, with an alarm at `remind_at` unless they are completed; the trash is left out. Due times are those of the timezone of the profile.',
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
  function file(call: Call, name: string, type: string, text: AsyncIterable<string>): Answer {
    const { user } = call
    const people = new Set(open.values())
    if (people.size >= MAX_PEOPLE && !people.has(user)) throw tooMany()
    return {
      status: 200,
      headers: {
        'Content-Type': type,
        'Content-Disposition': `attachment; filename="${name}"`,
        'Cache-Control': 'no-store',
      },
      stream(response) {
        if (!response.destroyed) void write(call, response, text)
      },
    }
  }

  /** As fast as it is read on the other side, and no longer than somebody is there who may. */
  async function write(call: Call, response: ServerResponse, text: AsyncIterable<string>) {
    const { user } = call
    open.set(response, user)
    const settle = dependencies.answers.add(call, () => response.destroy())
    response.once('close', () => {
      open.delete(response)
      settle()
    })
    try {
      await dependencies.exports.takeTurn(user, async () => {
        if (!response.destroyed) await pipeline(Readable.from(inPieces(text)), response)
      })
    } catch (error) {
      // The status is out: whoever reads sees that it was cut off by its having no end.
      response.destroy()
      if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE')
        dependencies.log.warn({ error, user }, 'an export was cut off')
    }
  }

  async function* inJson(user: string, account: Account): AsyncGenerator<string> {
    yield `{"account":${JSON.stringify(account)}`
    for (const resource of KINDS) {
      yield `,"${resource.name}":${resource.singleton ? '' : '['}`
      let separator = ''
      for await (const page of dependencies.exports.pages(user, resource)) {
        for (const document of page) {
          yield separator + jsonOf(resource, document)
          separator = ','
        }
      }
      // An account that is being erased may have lost even what everybody has.
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

/** Pieces of a text that are worth a write each. Between them others have their turn. */
async function* inPieces(text: AsyncIterable<string>): AsyncGenerator<string> {
  let piece = ''
  for await (const part of text) {
    piece += part
    if (piece.length < PIECE) continue
    yield piece
    piece = ''
    await othersHadATurn()
  }
  yield piece
}

function tooMany(): Problem {
  return new Problem('too_many_requests', 'Many people take theirs along just now; try again.', {
    retryAfter: RETRY_SECONDS,
  })
}

function ofKinds<T>(partOf: (resource: Resource) => T): Record<string, T> {
  return Object.fromEntries(KINDS.map((resource) => [resource.name, partOf(resource)]))
}

function schemaOf({ document, singleton }: Resource): z.ZodType {
  if (singleton) return document.nullable()
  return z.array(document.extend({ deleted: z.boolean() }))
}

function exampleOf(resource: Resource): unknown {
  const document = exampleDocument(resource)
  return resource.singleton ? document : [{ ...document, deleted: false }]
}

function jsonOf({ singleton }: Resource, { json, deleted }: ExportedDocument): string {
  return singleton ? json : `${json.slice(0, -1)},"deleted":${deleted}}`
}

/** As documents have them, with the name of the category in the place of its id. */
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
