import type { ServerResponse } from 'node:http'
import type { BytesInFlight } from '../../runtime/bytes-in-flight.ts'
import type { Page } from '../../sync/replicate.ts'
import { countedPart } from '../counted.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'
import { pour } from '../send.ts'

interface LongPageOptions {
  call: Pick<Call, 'user' | 'session' | 'expires'>
  /** The documents that are asked for. */
  limit: number
  first: Page
  next: (from: Page['checkpoint'], limit: number) => Promise<Page>
}

export type LongPages = ReturnType<typeof createLongPages>

/**
 * Large pages for RxDB's clients, to whom a page shorter than the limit is the last one. They are written in
 * parts: each is read from the database when the connection has taken the one before, so that a page occupies
 * no more than a part. The checkpoint comes after the documents, as that of the last part.
 */
export function createLongPages(bytes: Pick<BytesInFlight, 'tryTake'>, answers: OpenAnswers) {
  return ({ call, limit, first, next }: LongPageOptions): Answer => {
    return {
      status: 200,
      headers: { 'Content-Type': 'application/json' },
      stream(response, compressor) {
        if (response.destroyed) return // disconnected meanwhile
        const settle = answers.add(call, () => response.destroy())
        response.once('close', settle)
        // The headers are sent: only a broken connection tells that this is not the whole page.
        pour(parts(response), response, compressor).catch(() => response.destroy())
      },
    }

    async function* parts(response: ServerResponse): AsyncGenerator<Buffer> {
      let page = first
      let left = limit - page.count
      let changedSince = page.changed_since
      yield* counted(`{"documents":[${inside(page)}`, response)
      while (page.has_more && left > 0) {
        page = await next(page.checkpoint, left)
        left -= page.count
        if (page.changed_since !== undefined)
          changedSince = (changedSince ?? 0) + page.changed_since
        if (page.count > 0) yield* counted(`,${inside(page)}`, response)
      }
      const { checkpoint, missing } = page
      const rest = JSON.stringify({ checkpoint, changed_since: changedSince, missing })
      yield Buffer.from(`],${rest.slice(1)}`)
    }

    function counted(text: string, response: ServerResponse): AsyncGenerator<Buffer> {
      return countedPart(bytes, call.user, response, text)
    }
  }
}

const inside = ({ documents }: Page) => documents.slice(1, -1)
