import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { BytesInFlight } from '../../runtime/bytes-in-flight.ts'
import type { Page } from '../../sync/replicate.ts'
import { tryCount } from '../counted.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'

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
      stream(response) {
        const settle = answers.add(call, () => response.destroy())
        response.once('close', settle)
        // The headers are sent: only a broken connection tells that this is not the whole page.
        write(response).catch(() => response.destroy())
      },
    }

    async function write(response: ServerResponse): Promise<void> {
      const closed = new AbortController()
      response.once('close', () => closed.abort())
      const take = async (text: string) => {
        const part = Buffer.from(text)
        const held = tryCount(bytes, call.user, response, part.length)
        if (!held) throw new Error('the part does not fit')
        try {
          if (!response.write(part)) await once(response, 'drain', closed)
        } finally {
          held.release()
        }
      }
      let page = first
      let left = limit - page.count
      let changedSince = page.changed_since
      await take(`{"documents":[${inside(page)}`)
      while (page.has_more && left > 0) {
        page = await next(page.checkpoint, left)
        left -= page.count
        if (page.changed_since !== undefined)
          changedSince = (changedSince ?? 0) + page.changed_since
        if (page.count > 0) await take(`,${inside(page)}`)
      }
      const { checkpoint, missing } = page
      const rest = JSON.stringify({ checkpoint, changed_since: changedSince, missing })
      response.end(`],${rest.slice(1)}`)
    }
  }
}

const inside = ({ documents }: Page) => documents.slice(1, -1)
