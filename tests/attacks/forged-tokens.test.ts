import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { callerTo } from '../support/server.ts'
import { openArena } from './arena.ts'

test('thousands of forged tokens are refused, and nobody else waits', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const [header, , signature] = attacker!.access.split('.')
  const statuses = new Set<number>()
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 40; round++)
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const claims = Buffer.from(JSON.stringify({ sub: randomUUID(), exp: 2 ** 33 }))
          const forged = [header, claims.toString('base64url'), signature].join('.')
          const call = callerTo(arena.url, { authorization: `Bearer ${forged}` })
          statuses.add((await call('GET', '/api/tasks/')).status)
        }),
      )
  })
  expect([...statuses]).toEqual([401])
})
