import { randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { type Attacker, openArena } from './arena.ts'

const PUSH = '/replication/tasks/0/push'
const compressed = { 'content-type': 'application/json', 'content-encoding': 'gzip' }

function push({ call }: Attacker, text: string, isCompressed = true) {
  if (!isCompressed)
    return call('POST', PUSH, undefined, {
      raw: text,
      headers: { 'content-type': 'application/json' },
    })
  return call('POST', PUSH, undefined, { raw: new Uint8Array(gzipSync(text)), headers: compressed })
}

const row = (more: string) => `{"newDocumentState":{"id":"${randomUUID()}","title":"x",${more}}}`

test('a few kilobytes of gzip with millions of objects are refused, and nobody else waits', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(3)
  const text = `[${row(`"mood":[${'{},'.repeat(1_700_000)}0]`)}]`
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 5; round++) {
      const pushes = attackers.flatMap((one) => Array.from({ length: 12 }, () => push(one, text)))
      for (const { status } of await Promise.all(pushes)) expect([413, 429]).toContain(status)
    }
  })
})

test('bodies at the limit of values occupy no more than the budget', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(3)
  const text = `[${row(`"mood":[${'{},'.repeat(49_000)}0]`)}]`
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 3; round++) {
      const pushes = attackers.flatMap((one) =>
        Array.from({ length: 12 }, () => push(one, text, false)),
      )
      for (const { status } of await Promise.all(pushes)) expect([200, 429]).toContain(status)
    }
  })
})

test('half a million unknown names in a row are refused, and nobody else waits', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const names = (count: number) => Array.from({ length: count }, (_, i) => `"n${i}":0`).join()
  await arena.whileOthersWork(async () => {
    for (const [count, status] of [
      [500_000, 413],
      [100_000, 200],
    ] as const) {
      const text = `[${row(names(count))}]`
      expect((await push(attacker!, text, false)).status).toBe(status)
    }
  })
})

test('a row that is nested 5,000 deep is refused, and the row beside it is stored', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const deep = [
    `"mood":${'['.repeat(5_000)}${']'.repeat(5_000)}`,
    `"title":${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
  ]
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 50; round++) {
      const good = randomUUID()
      const text = `[{"newDocumentState":{"id":"${good}","title":"good"}},${deep.map(row)}]`
      const reply = await push(attacker!, text, false)
      expect(reply.status).toBe(200)
      expect((await attacker!.call('GET', `/api/tasks/${good}/`)).status).toBe(200)
    }
  })
})
