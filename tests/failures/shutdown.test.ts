import { expect, test } from 'vitest'
import { atEnd } from '../support/at-end.ts'
import { mailingTo, openMailbox } from '../support/mailbox.ts'
import { startProcess } from '../support/processes.ts'
import { SECRET } from '../support/server.ts'
import { lineTo, setStage } from './stage.ts'

/** Platforms kill after 30. */
const MAX_STOP_MS = 25_000

async function timeToExit(stop: () => void, exit: Promise<unknown>): Promise<number> {
  const began = performance.now()
  stop()
  await exit
  return performance.now() - began
}

test('a node whose database is silent ends within 25 seconds of SIGTERM, and answers who waits', async () => {
  const { places, people } = await setStage()
  const place = places[0]!
  const [ann] = await people(1)
  await ann!.at(place)('GET', '/api/tasks/')
  place.line.blackHole()
  const waiting = ann!.at(place)('GET', '/api/tasks/')
  expect(await timeToExit(() => place.signal('SIGTERM'), place.exit)).toBeLessThan(MAX_STOP_MS)
  expect(await waiting).toMatchObject({ status: 503 })
})

test('a worker whose database is silent ends within 25 seconds of SIGTERM', async () => {
  const { database } = await setStage({ nodes: 0 })
  const mailbox = await openMailbox()
  atEnd(mailbox.close)
  const line = await lineTo(database.url)
  const environment = { DATABASE_URL: line.url, SECRET_KEY: SECRET, ...mailingTo(mailbox) }
  const worker = await startProcess('worker', environment, 'waiting for jobs')
  atEnd(worker.kill)
  line.blackHole()
  const stop = () => void worker.child.kill('SIGTERM')
  expect(await timeToExit(stop, worker.exit)).toBeLessThan(MAX_STOP_MS)
})
