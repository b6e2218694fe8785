import * as z from 'zod'
import type { Database } from '../database/connect.ts'
import { run } from '../database/connect.ts'
import { openApiTexts } from './openapi.ts'
import { type Operation, operation } from './operation.ts'

export interface AboutDependencies {
  db: Database
  version: string
  publicUrl: string | undefined
}

/** What the server says of itself: its health, and the description of its API. */
export function aboutOperations(
  { db, version, publicUrl }: AboutDependencies,
  others: readonly Operation[],
): Operation[] {
  const common = { tag: 'about', method: 'get', access: 'open' } as const
  const health = operation({
    ...common,
    id: 'get_health',
    path: '/healthz',
    summary: 'Ask whether the server can serve',
    answers: {
      200: {
        description: 'It can, and so can its database.',
        name: 'Health',
        schema: z.strictObject({ status: z.literal('ok'), version: z.string() }),
        example: { status: 'ok', version },
      },
    },
    problems: ['unavailable'],
    async handle() {
      await run(db, { text: 'select 1' }, [])
      return {
        status: 200,
        headers: { 'Cache-Control': 'no-store' },
        body: { status: 'ok', version },
      }
    },
  })
  const description = operation({
    ...common,
    id: 'get_schema',
    path: '/api/schema/',
    summary: 'Read this description',
    description: 'OpenAPI 3.1, as JSON or (with Accept: application/yaml) as YAML.',
    answers: {
      200: {
        description: 'The description of the API.',
        name: 'OpenApi',
        schema: z.looseObject({ openapi: z.string(), info: z.looseObject({ title: z.string() }) }),
        example: { openapi: '3.1.0', info: { title: 'Tasktide', version } },
        mediaTypes: ['application/json', 'application/yaml'],
      },
    },
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
        body: isYaml ? texts.yaml : texts.json,
      }
    },
  })
  const own = [health, description]
  const texts = openApiTexts([...others, ...own], { version, publicUrl })
  return own
}
