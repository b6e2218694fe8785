import { randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { type Attacker, openArena } from './arena.ts'

const PUSH = '/replication/tasks/0/push'
const compressed = { 'content-type': 'application/json', 'content-encoding': 'gzip' }

const plain = { 'content-type': 'application/json' }

const push = ({ call }: Attacker, raw: string | Uint8Array<ArrayBuffer>) =>
  call('POST', PUSH, undefined, { raw, headers: typeof raw === 'string' ? plain : compressed })

let named = 0
/** So many names that nobody has used before. */
const different = (count: number) => Array.from({ length: count }, () => `"n${named++}":0`).join()

const row = (more: string) => `{"newDocumentState":{"id":"${randomUUID()}","title":"x",${more}}}`

test('a few kilobytes of gzip with millions of objects are refused, and nobody else waits', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(3)
  const text = `[${row(`"mood":[${'{},'.repeat(1_700_000)}0]`)}]`
  const packed = new Uint8Array(gzipSync(text))
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 5; round++) {
      const pushes = attackers.flatMap((one) => Array.from({ length: 12 }, () => push(one, packed)))
      for (const { status } of await Promise.all(pushes)) expect([413, 429]).toContain(status)
    }
  })
})

test.each([
  ['objects', () => row(`"mood":[${'{},'.repeat(4_900)}0]`)],
  ['different names in a row', () => row(`"mood":{${different(9_900)}}`)],
])('bodies at the limit of values occupy no more than the budget: %s', async (_, createRow) => {
  const arena = await openArena()
  const attackers = await arena.attackers(3)
  const text = `[${Array.from({ length: 10 }, createRow)}]`
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 2; round++) {
      const pushes = attackers.flatMap((one) => Array.from({ length: 8 }, () => push(one, text)))
      for (const { status } of await Promise.all(pushes)) expect([200, 429]).toContain(status)
    }
  })
})

test('five megabytes of refused rows, whatever they are, do not keep others waiting', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(3)
  const bodies = (count: number) =>
    attackers.map(() => {
      const long = 'x'.repeat(4_900_000 / count)
      return `[${Array.from({ length: count }, () => row(`"mood":"${long}"`))}]`
    })
  const prepared = [1, 1_000, 1_000].map(bodies)
  await arena.whileOthersWork(async () => {
    for (const each of prepared) {
      const pushes = attackers.map((one, i) => push(one, each[i]!))
      for (const { status } of await Promise.all(pushes)) expect(status).toBe(200)
    }
  })
})

test('half a million unknown names in a row are refused, and nobody else waits', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const bodies = [
    [413, `[${row(different(500_000))}]`],
    [413, `[${row(different(100_000))}]`],
    [200, `[${row(different(9_900))}]`],
  ] as const
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 5; round++)
      for (const [status, text] of bodies) expect((await push(attacker!, text)).status).toBe(status)
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
      const reply = await push(attacker!, text)
      expect(reply.status).toBe(200)
      expect((await attacker!.call('GET', `/api/tasks/${good}/`)).status).toBe(200)
    }
  })
})
