import type { ServerResponse } from 'node:http'
import type { BytesInFlight } from '../../runtime/bytes-in-flight.ts'
import { countedPart } from '../counted.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'
import { pour } from '../send.ts'

/** A shorter answer is sent in one go. */
const SHORT = 256 * 1024

/**
 * Answers that are read from the database in parts, each when the connection has taken the one before: however
 * long they are, they occupy no more than a part. The first one comes before the answer begins, so that a refusal
 * has a status.
 */
export function createParts(bytes: Pick<BytesInFlight, 'tryTake'>, answers: OpenAnswers) {
  return async function inParts(
    call: Pick<Call, 'user' | 'session' | 'expires' | 'request'>,
    parts: AsyncGenerator<string>,
  ): Promise<Answer> {
    let first = ''
    let isAll = false
    while (!isAll && first.length < SHORT) {
      const { value, done } = await parts.next()
      isAll = done === true
      first += value ?? ''
    }
    const headers = { 'Content-Type': 'application/json' }
    if (isAll) return { status: 200, headers, body: first }
    if (call.request.method === 'HEAD') {
      await parts.return(undefined)
      return { status: 200, headers }
    }
    return {
      status: 200,
      headers,
      stream(response, compressor) {
        if (response.destroyed) return // disconnected meanwhile
        const settle = answers.add(call, () => response.destroy())
        response.once('close', settle)
        // The headers are sent: only a broken connection tells that this is not all.
        pour(rest(response), response, compressor).catch(() => response.destroy())
      },
    }

    async function* rest(response: ServerResponse): AsyncGenerator<Buffer> {
      yield* counted(first, response)
      for await (const part of parts) yield* counted(part, response)
    }

    function counted(text: string, response: ServerResponse): AsyncGenerator<Buffer> {
      return countedPart(bytes, call.user, response, text)
    }
  }
}

export type InParts = ReturnType<typeof createParts>

/** The elements of a list in a JSON text. */
export async function* listed(
  before: string,
  parts: AsyncIterable<readonly string[]>,
  after: () => string | Promise<string>,
): AsyncGenerator<string> {
  let separator = ''
  yield before
  for await (const part of parts) {
    if (part.length === 0) continue
    yield separator + part.join(',\n')
    separator = ',\n'
  }
  yield await after()
}
