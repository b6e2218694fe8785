import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Client } from '../../client-sdk/index.ts'
import { device, tasksOf } from '../client-sdk/device.ts'
import { atEnd } from '../support/at-end.ts'
import { hasRedis, startRedis } from '../support/redis.ts'
import { callerTo } from '../support/server.ts'
import { startNode } from '../support/web-node.ts'
import { setStage } from './stage.ts'

const TOKEN = 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A'
const PASSWORD = 'a-harbour-at-night'
const PEOPLE = 3
const KILLS = 4

test.skipIf(!hasRedis())(
  'Redis is killed and restarted under load: no write fails, every device converges, and hints come through it again',
  async () => {
    const redis = await startRedis({ requirepass: PASSWORD })
    atEnd(redis.close)
    const { database } = await setStage({ nodes: 0 })
    const nodes = await Promise.all(
      [1, 2].map(async () => {
        const node = await startNode({
          DATABASE_URL: database.url,
          REDIS_URL: redis.url.replace('://', `://:${PASSWORD}@`),
          METRICS_TOKEN: TOKEN,
        })
        atEnd(node.close)
        const asOperator = callerTo(node.url, { authorization: `Bearer ${TOKEN}` })
        const metrics = async () => (await asOperator('GET', '/metrics')).text
        return {
          ...node,
          ready: async () => (await asOperator('GET', '/readyz')).status,
          sample: async (name: string) =>
            Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await metrics())?.[1]),
        }
      }),
    )
    const [here, there] = [nodes[0]!, nodes[1]!]
    const people = await Promise.all(Array.from({ length: PEOPLE }, (_, i) => person(i)))

    async function person(i: number) {
      const credentials = { username: `user${i}`, password: 'a ferry to Lisbon' }
      const call = callerTo(here.url)
      const email = `user${i}@example.com`
      expect((await call('POST', '/api/register/', { ...credentials, email })).status).toBe(201)
      const { access } = (await call('POST', '/api/token/', credentials)).body
      const client: Client = await device({ url: there.url })
      await client.session.signIn(credentials)
      await client.sync.awaitInSync()
      return { call: callerTo(here.url, { authorization: `Bearer ${access}` }), client, written: 0 }
    }

    let isOver = false
    const writers = people.map(async (one) => {
      while (!isOver) {
        const { status } = await one.call('POST', '/api/tasks/', { title: `${++one.written}` })
        expect(status).toBe(201)
        await sleep(20)
      }
    })

    /** Hints arrive over Redis at both nodes. */
    async function expectHints() {
      const received = await there.sample('tasktide_hints_received_total')
      await expect
        .poll(() => there.sample('tasktide_hints_received_total'), { timeout: 20_000 })
        .toBeGreaterThan(received)
      for (const node of nodes) expect(await node.sample('tasktide_hints_connected')).toBe(1)
    }

    await expectHints()
    for (let i = 0; i < KILLS; i++) {
      await redis.kill()
      for (const node of nodes)
        await expect.poll(() => node.sample('tasktide_hints_connected')).toBe(0)
      const unsent = await here.sample('tasktide_hints_unsent_total')
      await expect.poll(() => here.sample('tasktide_hints_unsent_total')).toBeGreaterThan(unsent)
      for (const node of nodes) expect(await node.ready()).toBe(200)
      await redis.restart()
      await expectHints()
    }
    isOver = true
    await Promise.all(writers)

    for (const { client, written } of people)
      await expect
        .poll(async () => (await tasksOf(client)).length, { timeout: 20_000 })
        .toBe(written)
    for (const node of nodes) {
      expect(node.log()).toContain('the connection for hints was lost')
      expect(node.log()).not.toContain(PASSWORD)
      expect(node.log()).not.toMatch(/"status":5\d\d/)
    }
  },
)
