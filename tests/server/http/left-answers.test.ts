import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { accountEventOperations } from '../../../server/http/accounts/events.ts'
import { createFeeds } from '../../../server/http/couch/feeds.ts'
import { createParts } from '../../../server/http/couch/parts.ts'
import { createOpenAnswers, type OpenAnswers } from '../../../server/http/open-answers.ts'
import type { Answer, Call } from '../../../server/http/operation.ts'
import { createLongPages } from '../../../server/http/replication/long-pages.ts'
import { createPlaces } from '../../../server/runtime/places.ts'

const call = {
  user: 'ann',
  session: 'phone',
  expires: 5_000_000_000,
  query: {},
  headers: {},
  request: { method: 'GET', headers: {}, get: () => undefined, res: { locals: {} } },
} as unknown as Call

const bytes = { tryTake: () => ({ release() {} }) } as never
const places = createPlaces(1)

const answered: Record<string, (answers: OpenAnswers) => Promise<Answer>> = {
  'a list of the CouchDB face': (answers) => createParts(bytes, answers)(call, manyParts()),
  'a feed of the CouchDB face': (answers) => {
    const feeds = createFeeds({
      answers,
      places,
      followers: { join: async () => ({ leave() {} }) } as never,
      stored: {} as never,
      inParts: {} as never,
    })
    const database = { user: 'ann', head: async () => ({ seq: 1, epoch: '' }) }
    return feeds.serve(call, database as never, { feed: 'continuous' })
  },
  'a large page': async (answers) => {
    const page = { documents: '[]', count: 0, has_more: false, checkpoint: null }
    return createLongPages(bytes, answers)({ call, limit: 1, first: page, next: null } as never)
  },
  'the events of an account': async (answers) => {
    const events = { recordIfPossible: async () => {}, async *all() {} } as never
    const operations = accountEventOperations({ events, answers, publicUrl: undefined } as never)
    return operations.find(({ id }) => id.includes('export'))!.handle(call as never)
  },
}

async function* manyParts() {
  for (;;) yield 'x'.repeat(300_000)
}

test.each(Object.keys(answered))('%s whose client has left meanwhile is not kept', async (what) => {
  const answers = createOpenAnswers(() => new Date())
  const { stream } = await answered[what]!(answers)
  const response = new PassThrough().destroy()
  await once(response, 'close')
  stream!(response as unknown as ServerResponse)
  expect(answers.sessions()).toEqual([])
  const leavePlace = places.take('ann')
  expect(leavePlace).toBeDefined()
  leavePlace!()
})
