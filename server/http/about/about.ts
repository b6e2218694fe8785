import * as z from 'zod'
import type { Readiness } from '../../health/readiness.ts'
import { type AnswerDescription, type Operation, operation } from '../operation.ts'
import { asyncApiTexts } from './asyncapi.ts'
import { openApiTexts } from './openapi.ts'

export interface AboutDependencies {
  readiness: Pick<Readiness, 'check'>
  version: string
  publicUrl: string | undefined
}

/** What the server says of itself: its health, and the description of its API. */
export function aboutOperations(
  { readiness, version, publicUrl }: AboutDependencies,
  others: readonly Operation[],
): Operation[] {
  const common = { tag: 'about', method: 'get', access: 'open' } as const
  const health = operation({
    ...common,
    id: 'get_health',
    path: '/healthz',
    summary: 'Ask whether the process is alive',
    description:
      'Nothing else is asked: a server is not to be restarted because its database is away.',
    answers: {
      200: {
        description: 'It is.',
        name: 'Health',
        schema: z.strictObject({ status: z.literal('ok'), version: z.string() }),
        example: { status: 'ok', version },
      },
    },
    problems: [],
    async handle() {
      return { status: 200, headers: NOT_KEPT, body: { status: 'ok', version } }
    },
  })
  const ready = operation({
    ...common,
    id: 'get_readiness',
    path: '/readyz',
    summary: 'Ask whether the server can serve',
    description:
      'It cannot while its database is away or behind this release, nor once it has been told to stop.',
    answers: {
      200: {
        description: 'It can.',
        name: 'Readiness',
        schema: z.strictObject({ status: z.literal('ready') }),
        example: { status: 'ready' },
      },
    },
    problems: ['unavailable'],
    async handle() {
      await readiness.check()
      return { status: 200, headers: NOT_KEPT, body: { status: 'ready' } }
    },
  })
  const openApi = describing(
    {
      ...common,
      id: 'get_schema',
      path: '/api/schema/',
      summary: 'Read this description',
      description: 'OpenAPI 3.1, as JSON or (with Accept: application/yaml) as YAML.',
    },
    {
      description: 'The description of the API.',
      name: 'OpenApi',
      schema: z.looseObject({ openapi: z.string(), info: z.looseObject({ title: z.string() }) }),
      example: { openapi: '3.1.0', info: { title: 'Tasktide', version } },
    },
    () => openApiForms,
  )
  const asyncApiForms = asyncApiTexts({ version, publicUrl })
  const asyncApi = describing(
    {
      ...common,
      id: 'get_live_schema',
      path: '/api/asyncapi/',
      summary: 'Read the description of the live events',
      description:
        'The events of Socket.IO. AsyncAPI 3.0, as JSON or (with Accept: application/yaml) as YAML.',
    },
    {
      description: 'The description of the live events.',
      name: 'AsyncApi',
      schema: z.looseObject({ asyncapi: z.string(), info: z.looseObject({ title: z.string() }) }),
      example: { asyncapi: '3.0.0', info: { title: 'Tasktide, live', version } },
    },
    () => asyncApiForms,
  )
  const own = [health, ready, openApi, asyncApi]
  const openApiForms = openApiTexts([...others, ...own], { version, publicUrl })
  return own
}

const NOT_KEPT = { 'Cache-Control': 'no-store' }

/** A document that is there in two forms. */
function describing(
  about: Omit<Operation, 'access' | 'answers' | 'problems' | 'handle'> & { access: 'open' },
  answer: AnswerDescription,
  texts: () => { json: string; yaml: string },
): Operation {
  return operation({
    ...about,
    answers: { 200: { ...answer, mediaTypes: ['application/json', 'application/yaml'] } },
    problems: [],
    async handle({ request }) {
      const type = request.accepts(['application/json', 'application/yaml', 'text/yaml'])
      const isYaml = type === 'application/yaml' || type === 'text/yaml'
      return {
        status: 200,
        headers: {
          'Content-Type': isYaml ? `${type}; charset=utf-8` : 'application/json',
          Vary: 'Accept',
        },
        body: isYaml ? texts().yaml : texts().json,
      }
    },
  })
}
