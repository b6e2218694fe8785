import * as z from 'zod'
import { problemSchema } from './problem.ts'

/** Schemas of batches: several writes in one request. */

export const MAX_OPERATIONS = 200
const MAX_PATH = 500
const MAX_ETAGS = 500

export const batchOperation = z.strictObject({
  method: z.enum(['POST', 'PUT', 'PATCH', 'DELETE']),
  path: z
    .string()
    .max(MAX_PATH, `Use at most ${MAX_PATH} characters.`)
    .describe('As in a request of its own, with its query: `/api/tasks/`.'),
  // The schema of the operation checks it.
  body: z.unknown().optional().meta({
    type: 'object',
    additionalProperties: true,
    description: 'As in a request of its own.',
  }),
  if_match: z
    .string()
    .max(MAX_ETAGS, `Use at most ${MAX_ETAGS} characters.`)
    .optional()
    .describe('As the header If-Match.'),
})

export const batchBody = z.strictObject({
  operations: z
    .array(batchOperation)
    .min(1, 'Send at least one operation.')
    .max(MAX_OPERATIONS, `Send at most ${MAX_OPERATIONS} operations.`),
  atomic: z.boolean().optional().describe('Whether to do all of them or none. Default: false.'),
})

/** @param documents the schemas of all resources */
export function batchResultOf(documents: readonly z.ZodType[]) {
  return z.strictObject({
    status: z.int().describe('As of a response of its own.'),
    etag: z.string().optional().describe('The version of the document.'),
    location: z.string().optional().describe('The URL of a created document.'),
    body: z.union(documents).optional().describe('The document.'),
    problem: problemSchema.optional().describe('Why it was refused.'),
  })
}
