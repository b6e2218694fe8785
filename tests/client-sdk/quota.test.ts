import { firstValueFrom } from 'rxjs'
import { expect } from 'vitest'
import { startServer } from '../support/server.ts'
import { deviceOf, until } from './device.ts'
import { test } from './fixtures.ts'

test('edits for which the account has no room stay on the device, and are sent once there is some', async ({
  onTestFinished,
}) => {
  const server = await startServer({ QUOTA_DOCUMENTS: '2' })
  onTestFinished(() => server.stop())
  const ann = await server.person()
  const phone = await deviceOf(server, ann)
  const first = await phone.tasks.add({ title: 'Ferry' })
  await phone.tasks.add({ title: 'Train' })
  await phone.sync.awaitInSync()
  const third = await phone.tasks.add({ title: 'Bus' })
  const { error } = await until(phone.sync.state$, ({ error }) => error !== null)
  expect(error).toMatchObject({ code: 'quota_exceeded', message: /full: a change will be sent/ })
  expect(await firstValueFrom(phone.sync.pending$)).toBe(1)
  expect(await firstValueFrom(phone.sync.rejected$)).toEqual([])
  expect((await phone.tasks.findOne(third.id).exec(true)).title).toBe('Bus')
  expect(await phone.account.get()).toMatchObject({ usage: { documents: 2, max_documents: 2 } })

  await first.remove()
  await phone.sync.awaitInSync()
  const { results } = (await ann.call('GET', '/api/tasks/?ordering=title')).body
  expect(results.map(({ title }: { title: string }) => title)).toEqual(['Bus', 'Train'])
  await until(phone.sync.state$, ({ error }) => error === null)
})
