import * as z from 'zod'
import {
  batch,
  batchResult,
  type Document,
  PROBLEMS,
  Problem,
  type ProblemCode,
  resources,
} from '../../../protocol/index.ts'
import { requireScopes } from '../../accounts/permissions.ts'
import { pause } from '../../runtime/pauses.ts'
import type { Store } from '../../sync/store.ts'
import { type DocumentStore, storeWithin } from '../../sync/within.ts'
import { exampleDocument } from '../examples.ts'
import { repeatable } from '../idempotency.ts'
import { type Answer, type Call, type Operation, operation } from '../operation.ts'
import { parse, shortened } from '../problems.ts'
import { queryReader } from '../query.ts'

type Batch = z.output<typeof batch.batchBody>
type BatchOperation = Batch['operations'][number]
type BatchResult = z.output<typeof batchResult>

/** It is parsed in one piece, which keeps others waiting. */
const MAX_BYTES = 1024 * 1024

interface Dependencies {
  store: Pick<Store, 'transaction'>
  now: () => Date
}

/**
 * Several operations in one request and one transaction. Each is checked as it is by itself.
 *
 * @param operations those that it may have: they write to `call.within`, and refuse before they write
 */
export function batchOperation(
  operations: readonly Operation[],
  { store, now }: Dependencies,
): Operation {
  const find = finder(operations)
  const refusals = [...new Set(operations.flatMap(({ problems }) => problems))].sort(byStatus)
  return repeatable({ store, now })(
    operation({
      id: 'batch',
      tag: 'batch',
      access: 'bearer',
      // Each operation needs its own.
      scopes: [],
      method: 'post',
      path: '/api/batch/',
      writes: (body: Batch) => body.operations.length,
      summary: 'Write several documents',
      description: `Up to ${batch.MAX_OPERATIONS} operations that write documents, in order; each sees what those before it have written. Each has a result of its own, in the same order. With \`atomic\`, the first one that is refused undoes the others: the response is its problem, with \`operation\`. What is written is stored together in any case: if the response is 5xx, nothing was. Limits count operations, and a personal token needs the scopes of each.`,
      maxBodyBytes: MAX_BYTES,
      body: { name: 'Batch', schema: batch.batchBody, examples: { usual: EXAMPLE } },
      answers: {
        200: {
          description: 'The results.',
          name: 'BatchResults',
          schema: z.strictObject({ results: z.array(batchResult) }),
          example: EXAMPLE_RESULTS,
        },
      },
      problems: [...refusals, 'too_large'],
      async handle(call: Call<Batch>) {
        const { within } = call
        const results = within
          ? await resultsOf(call, within)
          : await store.transaction(call.user, (transaction) =>
              resultsOf(call, storeWithin(transaction)),
            )
        return { status: 200, body: `{"results":[${results}]}` }
      },
    }),
  )

  /** As JSON: most documents are JSON text already. */
  async function resultsOf(call: Call<Batch>, within: DocumentStore): Promise<string[]> {
    const results: string[] = []
    for (const [i, one] of call.body.operations.entries()) {
      const pausing = pause()
      if (pausing) await pausing
      results.push(await resultOf(one, call, within, i))
    }
    return results
  }

  /** @throws whatever undoes the batch */
  async function resultOf(
    one: BatchOperation,
    call: Call<Batch>,
    within: DocumentStore,
    i: number,
  ): Promise<string> {
    try {
      const { status, headers = {}, body } = await answered(one, call, within)
      const result: BatchResult = { status, etag: headers.ETag, location: headers.Location }
      const text = JSON.stringify(result)
      return body === undefined ? text : `${text.slice(0, -1)},"body":${jsonOf(body)}}`
    } catch (error) {
      if (!(error instanceof Problem) || error.status >= 500 || error.status === 429) throw error
      if (!call.body.atomic)
        return JSON.stringify({ status: error.status, problem: error.body() } satisfies BatchResult)
      error.operation = i
      throw error
    }
  }

  async function answered(
    { method, path, body, if_match }: BatchOperation,
    call: Call<Batch>,
    within: DocumentStore,
  ): Promise<Answer> {
    const { operation, params, query } = find(method, path)
    if (call.scopes) requireScopes(call.scopes, operation.scopes)
    if (body !== undefined && !operation.body)
      throw new Problem('invalid', 'This operation has no body; omit it.', {
        errors: { body: ['Omit it.'] },
      })
    return operation.handle({
      ...call,
      params,
      query,
      headers: if_match === undefined ? {} : { 'if-match': if_match },
      body: (operation.body && parse(operation.body.schema, body ?? {}, 'body')) as never,
      within,
    })
  }
}

interface Found {
  readonly operation: Operation
  readonly params: Record<string, string>
  readonly query: Record<string, unknown>
}

/** Finds the operation of a method and a path. The function that it returns throws Problems. */
function finder(operations: readonly Operation[]): (method: string, path: string) => Found {
  const routes = operations.map((operation) => ({
    operation,
    // Named as its parameters.
    pattern: new RegExp(
      `^${operation.path.replace(/\/$/, '').replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)')}/?$`,
    ),
    readQuery: queryReader(operation),
  }))
  return (method, path) => {
    const [before, after = ''] = path.split(/\?(.*)/s)
    const route = routes.find(
      ({ operation, pattern }) =>
        operation.method === method.toLowerCase() && pattern.test(before!),
    )
    if (!route)
      throw new Problem(
        'not_found',
        `A batch has no ${method} ${shortened(path)}; it has operations that write documents, such as POST /api/tasks/.`,
      )
    const { operation, pattern, readQuery } = route
    const params = Object.entries(pattern.exec(before!)!.groups ?? {})
    return {
      operation,
      params: Object.fromEntries(params.map(([name, text]) => [name, decoded(text)])),
      query: readQuery(valuesOf(new URLSearchParams(after))),
    }
  }
}

/** What cannot be decoded is no id, and not found as such. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** As a request has them. */
function valuesOf(parameters: URLSearchParams): Record<string, string | string[]> {
  const names = new Set(parameters.keys())
  return Object.fromEntries(
    [...names].map((name) => {
      const all = parameters.getAll(name)
      return [name, all.length === 1 ? all[0]! : all]
    }),
  )
}

const jsonOf = (body: NonNullable<Answer['body']>) =>
  typeof body === 'string' ? body : JSON.stringify(body)

const byStatus = (a: ProblemCode, b: ProblemCode) => PROBLEMS[a].status - PROBLEMS[b].status

const example = exampleDocument(resources.tasks) as Document
const EXAMPLE: Batch = {
  operations: [
    { method: 'POST', path: '/api/tasks/', body: { title: 'Book the ferry' } },
    { method: 'PATCH', path: `/api/tasks/${example.id}/`, body: { completed: true } },
  ],
}
const EXAMPLE_RESULTS = {
  results: [
    { status: 201, etag: '"12"', location: `/api/tasks/${example.id}/`, body: example },
    {
      status: 404,
      problem: new Problem(
        'not_found',
        'You have no task with this id; check the id, a UUID.',
      ).body(),
    },
  ],
}
