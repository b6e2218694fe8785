import { once } from 'node:events'
import { io } from 'socket.io-client'
import { expect, onTestFinished } from 'vitest'
import { deviceOf, tasksOf, until } from './device.ts'
import { test as plain } from './fixtures.ts'

const test = plain.extend('environment', { MAX_SOCKETS_PER_USER: '1' })

test('a device whose live connection is refused polls, says why, and connects when it can', async ({
  server,
  ann,
}) => {
  const options = { transports: ['websocket'], forceNew: true, auth: { token: ann.access } }
  const other = io(server.url, options)
  await once(other as never, 'ready')
  const phone = await deviceOf(server, ann, { pollInterval: 1_000 })
  const { status } = await until(
    phone.sync.state$,
    ({ live_refused }) => live_refused?.code === 'too_many_connections',
  )
  expect(status).not.toBe('error')
  await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await until(phone.tasks.count().$, (count) => count === 1)
  expect(await tasksOf(phone)).toMatchObject([{ title: 'Milk' }])
  await until(phone.sync.status$, (status) => status === 'synced')

  other.disconnect()
  const connected = until(phone.sync.state$, ({ live_refused }) => live_refused === null)
  // Its own next attempt may be a minute ahead.
  const waking = setInterval(() => phone.sync.wake(), 500)
  onTestFinished(() => clearInterval(waking))
  await connected
})
