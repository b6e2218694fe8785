import * as z from 'zod'
import { type Operation, operation } from '../operation.ts'

const DESCRIPTIONS = {
  docs: '/api/docs/',
  openapi: '/api/schema/',
  asyncapi: '/api/asyncapi/',
  replication: '/replication/',
}

const answer = z.strictObject({
  name: z.literal('Tasktide'),
  version: z.string(),
  descriptions: z
    .strictObject({
      docs: z.string(),
      openapi: z.string(),
      asyncapi: z.string(),
      replication: z.string(),
    })
    .describe('Where to read more, for people and for programs.'),
  operations: z.array(
    z.strictObject({
      method: z.string(),
      path: z.string(),
      summary: z.string(),
      access_token: z.boolean().describe('Whether it requires an access token.'),
    }),
  ),
})

/** What there is, for those who try the address first. */
export function indexOperation(version: string, all: () => readonly Operation[]): Operation {
  const body = () => ({
    name: 'Tasktide',
    version,
    descriptions: DESCRIPTIONS,
    operations: all().map(({ method, path, summary, access }) => ({
      method: method.toUpperCase(),
      path,
      summary,
      access_token: access === 'bearer',
    })),
  })
  return operation({
    id: 'get_api',
    tag: 'about',
    access: 'open',
    method: 'get',
    path: '/api/',
    summary: 'List operations',
    description: 'Every operation with its path, and where each is described.',
    answers: {
      200: {
        description: 'The operations.',
        name: 'Operations',
        schema: answer,
        example: {
          name: 'Tasktide',
          version,
          descriptions: DESCRIPTIONS,
          operations: [
            { method: 'GET', path: '/api/tasks/', summary: 'List tasks', access_token: true },
          ],
        },
      },
    },
    problems: [],
    handle: async () => ({ status: 200, body: body() }),
  })
}
