import * as z from 'zod'
import { pageLinks } from '../documents/list-answer.ts'
import { readNumberedPage } from '../documents/list-parameters.ts'
import type { Answer, AnswerDescription, Call } from '../operation.ts'

/** Numbered pages of what is not a document. */
type ReadPage<F extends object, T> = (
  filter: F,
  limit: number,
  offset: number,
) => Promise<{ count: number; results: readonly T[] }>

/**
 * Answers a page.
 *
 * @param publicUrl for links. Without it, the host of the request is used
 */
export async function answerPage<F extends object, T>(
  publicUrl: string | undefined,
  { query, request }: Pick<Call, 'query' | 'request'>,
  read: ReadPage<F, T>,
): Promise<Answer> {
  const { page, page_size, ...filter } = query
  const numbered = readNumberedPage({ page, page_size })
  const { count, results } = await read(filter as F, numbered.size, numbered.offset)
  const links = pageLinks(publicUrl, request, { ...numbered, count })
  return { status: 200, body: { count, ...links, results } }
}

export function pageOf(name: string, schema: z.ZodType, example: object): AnswerDescription {
  return {
    description: 'A page.',
    name,
    schema: z.strictObject({
      count: z.int().describe('The number of results on all pages.'),
      next: z.string().nullable().describe('The URL of the next page.'),
      previous: z.string().nullable().describe('The URL of the previous page.'),
      results: z.array(schema),
    }),
    example: { count: 1, next: null, previous: null, results: [example] },
  }
}
