import { firstValueFrom } from 'rxjs'
import { expect, test } from 'vitest'
import { createTestClient } from '../../client-sdk/testing.ts'

test('a client for tests is signed in, empty and without a server', async () => {
  const [client, other] = [
    await createTestClient(),
    await createTestClient({ resources: ['tasks'] }),
  ]
  await client.tasks.add({ title: 'Ferry', due_date: '2026-12-01' })
  expect(await client.tasks.today('2026-12-01').exec()).toMatchObject([{ title: 'Ferry' }])
  expect(await other.tasks.count().exec()).toBe(0)
  expect(await firstValueFrom(client.session.user$)).toMatchObject({ username: 'ann' })
  expect(await firstValueFrom(client.sync.status$)).toBe('offline')
  await expect(client.account.get()).rejects.toMatchObject({ code: 'unreachable' })
  await client.close()
  await other.close()
})
