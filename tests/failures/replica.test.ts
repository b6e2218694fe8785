import { randomUUID } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startEmbeddedPostgres } from '../../server/database/embedded/embedded-postgres.ts'
import { migrate } from '../../server/database/migrate.ts'
import { atEnd } from '../support/at-end.ts'
import { connectTo } from '../support/cluster.ts'
import { type Caller, callerTo } from '../support/server.ts'
import { startNode } from '../support/web-node.ts'
import { backUp, clusterIn } from './base-backup.ts'
import { lineTo } from './stage.ts'

const TOKEN = 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A'
const START = 'lwt=0&id='

test('a pull has every write that was answered before it, however far the replica is behind', async () => {
  const { standby, nodes } = await setStage()
  const [here, there] = [nodes[0]!, nodes[1]!]
  const [ann, bob] = [await here.person(), await here.person()]
  await ann.write(here)
  await ann.pull(there)
  await bob.write(here)
  await standby.caughtUp()
  await fromReplica(() => ann.pull(there), there)
  await fromReplica(() => bob.pull(there), there)

  await standby.pause()
  const before = await there.pages('replica')
  for (let i = 0; i < 20; i++) {
    await ann.write(i % 2 === 0 ? here : there)
    await ann.pull(there)
    await ann.pull(here)
    await ann.pullAll(there)
  }
  const carl = await here.person()
  await carl.write(here)
  await carl.pull(there)
  expect(await there.pages('replica'), 'it was behind').toBe(before)
  expect(await there.lag()).toBeGreaterThan(0)
  await fromReplica(() => bob.pull(there), there)

  await standby.resume()
  await standby.caughtUp()
  await fromReplica(() => ann.pullAll(there), there)
  await fromReplica(() => carl.pull(there), there)
  await expect.poll(there.lag).toBe(0)

  // Replay stops and goes on between any write and any read.
  let isOver = false
  const toggling = (async () => {
    while (!isOver) {
      await standby.pause()
      await standby.resume()
    }
  })()
  const during = await there.pages('replica')
  await Promise.all(
    [ann, bob, carl].map(async (one) => {
      for (let i = 0; i < 60; i++) {
        await one.write(here)
        await one.pull(there)
        await one.pullAll(there)
      }
    }),
  )
  isOver = true
  await toggling
  expect(await there.pages('replica')).toBeGreaterThan(during)
})

test('without the replica, pulls are answered by the primary, and nodes start and are ready', async () => {
  const { line, standby, nodes, serve } = await setStage()
  const [here, there] = [nodes[0]!, nodes[1]!]
  const ann = await here.person()
  await ann.write(here)
  await standby.caughtUp()
  await fromReplica(() => ann.pullAll(there), there)

  for (const fault of [line.blackHole, line.cut]) {
    fault()
    await ann.write(here)
    const began = performance.now()
    for (let i = 0; i < 5; i++) await ann.pull(there)
    // The first one waits for a second, and the others do not.
    expect(performance.now() - began).toBeLessThan(4_000)
    await expect.poll(there.log).toContain('the replica does not answer')
    expect((await there.call('GET', '/readyz')).status).toBe(200)
    const fresh = await serve()
    await ann.pullAll(fresh)
    expect((await fresh.call('GET', '/readyz')).status).toBe(200)
    line.pass()
    await fromReplica(() => ann.pullAll(there), there)
  }
  expect(there.log()).not.toMatch(/"status":5\d\d/)
})

type Node = Awaited<ReturnType<Awaited<ReturnType<typeof setStage>>['serve']>>

/** Pulls until a page comes from the replica. */
async function fromReplica(pull: () => Promise<void>, node: Node) {
  const before = await node.pages('replica')
  await expect
    .poll(
      async () => {
        await pull()
        return node.pages('replica')
      },
      { timeout: 20_000 },
    )
    .toBeGreaterThan(before)
}

/** A primary, a standby with streaming replication behind a line, and two nodes that read from it. */
async function setStage() {
  const folder = await mkdtemp(path.join(tmpdir(), 'tasktide-replica-'))
  atEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  const [dataDir, copy] = [path.join(folder, 'primary'), path.join(folder, 'standby')]
  const primary = await startEmbeddedPostgres({ dataDir, settings: { wal_keep_size: '512MB' } })
  atEnd(primary.stop)
  const admin = connectTo(primary.url)
  atEnd(() => admin.destroy())
  await migrate(admin)

  mkdirSync(copy, { mode: 0o711 })
  const cluster = clusterIn(dataDir)
  await backUp(primary.url, cluster, path.join(copy, path.basename(cluster)))
  writeFileSync(path.join(clusterIn(copy), 'standby.signal'), '')
  const { username, searchParams, port } = new URL(primary.url)
  const conninfo = `host=${searchParams.get('host')} port=${port} user=${username}`
  const postgres = await startEmbeddedPostgres({
    dataDir: copy,
    settings: { primary_conninfo: conninfo },
  })
  atEnd(postgres.stop)
  const replica = connectTo(postgres.url)
  atEnd(() => replica.destroy())
  const ask = async (sql: string) => Object.values((await replica.raw(sql)).rows[0])[0]
  const line = await lineTo(postgres.url)
  const nodes = [await serve(), await serve()]

  return {
    line,
    nodes,
    serve,
    standby: {
      async pause() {
        await ask('select pg_wal_replay_pause()')
        await expect.poll(() => ask('select pg_get_wal_replay_pause_state()')).toBe('paused')
      },
      resume: () => ask('select pg_wal_replay_resume()'),
      async caughtUp() {
        const { rows } = await admin.raw('select pg_current_wal_lsn() as lsn')
        await expect
          .poll(() => ask(`select pg_last_wal_replay_lsn() >= '${rows[0].lsn}'`), {
            timeout: 20_000,
          })
          .toBe(true)
      },
    },
  }

  async function serve() {
    const node = await startNode({
      DATABASE_URL: primary.url,
      DATABASE_REPLICA_URL: line.url,
      METRICS_TOKEN: TOKEN,
    })
    atEnd(node.close)
    const call = callerTo(node.url, { authorization: `Bearer ${TOKEN}` })
    const sample = async (name: string) => {
      const line = (await call('GET', '/metrics')).text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
      return Number(line?.split(' ')[1] ?? 0)
    }
    return {
      ...node,
      call,
      pages: (source: string) => sample(`tasktide_pages_total{source="${source}"}`),
      lag: () => sample('tasktide_replica_lag_bytes'),
      person: () => person(callerTo(node.url)),
    }
  }
}

/** Somebody who knows what they have written, and whose client sends nothing but RxDB's checkpoints. */
async function person(call: Caller) {
  const username = `user${randomUUID().slice(0, 8)}`
  const credentials = { username, password: 'a ferry to Lisbon' }
  const email = `${username}@example.com`
  expect((await call('POST', '/api/register/', { ...credentials, email })).status).toBe(201)
  const { access } = (await call('POST', '/api/token/', credentials)).body
  const at = (place: { url: string }) => callerTo(place.url, { authorization: `Bearer ${access}` })
  const written: string[] = []
  const seen = new Set<string>()
  let from = START

  async function page(place: { url: string }, after: string) {
    const target = `/replication/tasks/0/pull?limit=1000&${after}`
    const { status, body } = await at(place)('GET', target)
    expect({ status, body }).toMatchObject({ status: 200 })
    const { id, lwt } = body.checkpoint
    const ids = body.documents.map((document: { id: string }) => document.id) as string[]
    return { ids, next: `lwt=${lwt}&id=${id}` }
  }

  return {
    /** Over REST or with a push. */
    async write(place: { url: string }) {
      const id = randomUUID()
      const document = { id, title: 'Milk' }
      const { status } =
        written.length % 2 === 0
          ? await at(place)('POST', '/api/tasks/', document)
          : await at(place)('POST', '/replication/tasks/0/push', [{ newDocumentState: document }])
      expect(status).toBeLessThan(300)
      written.push(id)
    },
    /** What is new since the last time: afterwards everything is there. */
    async pull(place: { url: string }) {
      const expected = written.length
      const { ids, next } = await page(place, from)
      for (const id of ids) seen.add(id)
      from = next
      expect(written.slice(0, expected).filter((id) => !seen.has(id))).toEqual([])
    },
    async pullAll(place: { url: string }) {
      const expected = [...written]
      const { ids } = await page(place, START)
      expect(ids).toEqual(expect.arrayContaining(expected))
    },
  }
}
