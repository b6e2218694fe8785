import * as z from 'zod'
import { type Readiness, UNREADY } from '../../health/readiness.ts'
import { type AnswerDescription, type Operation, operation } from '../operation.ts'
import { asyncApiTexts } from './asyncapi.ts'
import { indexOperation } from './index-of-operations.ts'
import { openApiTexts } from './openapi.ts'

interface AboutDependencies {
  readiness: Pick<Readiness, 'check'>
  version: string
  publicUrl: string | undefined
}

/** Health checks and API descriptions. */
export function aboutOperations(
  { readiness, version, publicUrl }: AboutDependencies,
  others: readonly Operation[],
): Operation[] {
  const common = { tag: 'about', method: 'get', access: 'open' } as const
  const health = operation({
    ...common,
    id: 'get_health',
    path: '/healthz',
    summary: 'Check liveness',
    description:
      'Only checks that the process is alive: a lost database must not restart the server.',
    answers: {
      200: {
        description: 'Alive.',
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
    summary: 'Check readiness',
    description: `The problem of a node that is not ready has all \`reasons\` by code: ${Object.entries(
      UNREADY,
    )
      .map(([code, text]) => `\`${code}\` (${text})`)
      .join(', ')}`,
    answers: {
      200: {
        description: 'Ready.',
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
      summary: 'Get the OpenAPI document',
      description: 'OpenAPI 3.1 as JSON, or as YAML with `Accept: application/yaml`.',
    },
    {
      description: 'The OpenAPI document.',
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
      summary: 'Get the AsyncAPI document',
      description:
        'The Socket.IO events. AsyncAPI 3.0 as JSON, or as YAML with `Accept: application/yaml`.',
    },
    {
      description: 'The AsyncAPI document.',
      name: 'AsyncApi',
      schema: z.looseObject({ asyncapi: z.string(), info: z.looseObject({ title: z.string() }) }),
      example: { asyncapi: '3.0.0', info: { title: 'Tasktide, live', version } },
    },
    () => asyncApiForms,
  )
  const index = indexOperation(version, () => [...others, ...own])
  const own: Operation[] = [index, health, ready, openApi, asyncApi]
  const openApiForms = openApiTexts([...others, ...own], { version, publicUrl })
  return own
}

const NOT_KEPT = { 'Cache-Control': 'no-store' }

/** A document served as JSON and as YAML. */
function describing(
  about: Omit<Operation, 'access' | 'answers' | 'problems' | 'handle'> & { access: 'open' },
  answer: AnswerDescription,
  texts: () => { json(): string; yaml(): string },
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
        body: isYaml ? texts().yaml() : texts().json(),
      }
    },
  })
}
