import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { expect, test } from 'vitest'
import { MAX_PUSH_ROWS } from '../../protocol/replication.ts'
import { device, tasksOf } from '../client-sdk/device.ts'
import { atEnd } from '../support/at-end.ts'
import { hasNginx, startNginx } from '../support/nginx.ts'
import { freePort } from '../support/programs.ts'
import { type Caller, callerTo } from '../support/server.ts'
import { startNode, type WebNode } from '../support/web-node.ts'
import { setStage } from './stage.ts'

const PEOPLE = 3
const ROUNDS = 2

test.skipIf(!hasNginx())(
  'behind nginx, a node that stops fails no request, one that is killed loses none that was answered, and all devices converge',
  async () => {
    const { database } = await setStage({ nodes: 0 })
    const ports = [await freePort(), await freePort()] as const
    const start = async (i: 0 | 1) => {
      const node = await startNode({
        DATABASE_URL: database.url,
        PORT: String(ports[i]),
        TRUST_PROXY: '1',
      })
      atEnd(node.close)
      return node
    }
    const nodes: [WebNode, WebNode] = [await start(0), await start(1)]
    const nginx = await startNginx(ports)
    atEnd(nginx.close)
    const people = await Promise.all(Array.from({ length: PEOPLE }, (_, i) => person(i)))
    await expectEveryWay(people[0]!)

    async function person(i: number) {
      const credentials = { username: `user${i}`, password: 'a ferry to Lisbon' }
      const call = callerTo(nginx.url)
      const email = `user${i}@example.com`
      expect((await call('POST', '/api/register/', { ...credentials, email })).status).toBe(201)
      const { access } = (await call('POST', '/api/token/', credentials)).body
      const client = await device({ url: nginx.url })
      await client.session.signIn(credentials)
      await client.sync.awaitInSync()
      const rest = callerTo(nginx.url, { authorization: `Bearer ${access}` })
      return { rest, client, access, stored: new Set<string>() }
    }

    /** Sockets, event streams, and a push that is larger than nginx lets through by itself. */
    async function expectEveryWay({ rest, access, stored }: (typeof people)[0]) {
      const socket = io(nginx.url, { transports: ['websocket'], auth: { token: access } })
      atEnd(() => socket.disconnect())
      await new Promise((ready) => socket.once('ready', ready))
      const stream = await fetch(`${nginx.url}/replication/tasks/0/pullStream`, {
        headers: { authorization: `Bearer ${access}` },
      })
      const events = stream.body!.pipeThrough(new TextDecoderStream()).getReader()
      atEnd(() => events.cancel().catch(() => {}))
      const frame = new Promise((arrived) => socket.once('changes', arrived))
      const { id } = (await rest('POST', '/api/tasks/', { title: 'Milk' })).body
      expect(await frame).toMatchObject({ documents: { tasks: [{ title: 'Milk' }] } })
      let streamed = ''
      while (!streamed.includes(id)) streamed += (await events.read()).value
      const rows = Array.from({ length: MAX_PUSH_ROWS }, () => ({
        newDocumentState: {
          id: crypto.randomUUID(),
          title: 'Bread',
          description: 'x'.repeat(3_000),
        },
      }))
      expect((await rest('POST', '/replication/tasks/0/push', rows)).body).toEqual([])
      for (const { newDocumentState } of rows) stored.add(newDocumentState.id)
    }

    let isOver = false
    let answers: { request: string; status: number }[] = []
    const ask = async (rest: Caller, method: string, path: string, body?: unknown) => {
      const { status } = await rest(method, path, body)
      answers.push({ request: `${method} ${path}`, status })
      return status
    }
    const writers = people.flatMap(({ rest, client, stored }) => [
      untilOver(async () => {
        const id = crypto.randomUUID()
        if ((await ask(rest, 'POST', '/api/tasks/', { id, title: 'Made' })) === 201) stored.add(id)
      }),
      untilOver(async () => {
        const id = crypto.randomUUID()
        const rows = [{ newDocumentState: { id, title: 'Pushed' } }]
        if ((await ask(rest, 'POST', '/replication/tasks/0/push', rows)) === 200) stored.add(id)
      }),
      untilOver(async () => void (await ask(rest, 'GET', '/api/tasks/?page_size=5'))),
      untilOver(async () => {
        stored.add((await client.tasks.add({ title: 'On the device' })).id)
        await sleep(500)
      }),
    ])
    async function untilOver(work: () => Promise<void>) {
      while (!isOver) {
        await work()
        await sleep(20)
      }
    }
    const stop = () => {
      isOver = true
      return Promise.all(writers)
    }
    atEnd(stop)
    const failed = () => answers.filter(({ status }) => status >= 300)
    const goesOn = async () => {
      const before = answers.length
      await expect.poll(() => answers.length, { timeout: 20_000 }).toBeGreaterThan(before + 100)
    }

    /** nginx tries a node again two seconds after it was refused there. */
    const isUsed = (node: WebNode) =>
      expect.poll(node.log, { timeout: 20_000 }).toContain('"status":201')

    for (let round = 0; round < ROUNDS; round++) {
      const i = (round % 2) as 0 | 1
      answers = []
      nodes[i].signal('SIGTERM')
      expect(await nodes[i].exit).toBe(0)
      await goesOn()
      nodes[i] = await start(i)
      await isUsed(nodes[i])
      expect(failed(), 'while a node was stopped and replaced').toEqual([])
    }
    for (let round = 0; round < ROUNDS; round++) {
      const i = (round % 2) as 0 | 1
      answers = []
      await nodes[i].close()
      await goesOn()
      nodes[i] = await start(i)
      await isUsed(nodes[i])
      // What cannot be repeated without harm, and was at the node that was killed.
      for (const answer of failed())
        expect(answer).toEqual({ request: 'POST /api/tasks/', status: 502 })
    }
    await stop()

    for (const { client, rest, stored } of people) {
      await client.sync.awaitInSync()
      const ids = (await pulled(rest)).sort()
      expect([...stored].filter((id) => !ids.includes(id))).toEqual([])
      await expect
        .poll(async () => (await tasksOf(client)).map(({ id }) => id), { timeout: 30_000 })
        .toEqual(ids)
    }
  },
  240_000,
)

async function pulled(rest: Caller): Promise<string[]> {
  const ids: string[] = []
  let from = ''
  for (;;) {
    const { documents, checkpoint } = (
      await rest('GET', `/replication/tasks/0/pull?limit=500${from}`)
    ).body
    ids.push(...documents.map(({ id }: { id: string }) => id))
    if (documents.length < 500) return ids
    from = `&id=${checkpoint.id}&lwt=${checkpoint.lwt}`
  }
}
