import { randomUUID } from 'node:crypto'
import { cpSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Client } from '../../client-sdk/index.ts'
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../server/database/embedded/embedded-postgres.ts'
import { migrate } from '../../server/database/migrate.ts'
import { device, tasksOf, until } from '../client-sdk/device.ts'
import { atEnd } from '../support/at-end.ts'
import { connectTo } from '../support/cluster.ts'
import { callerTo } from '../support/server.ts'
import { startNode } from '../support/web-node.ts'
import { backUp, clusterIn } from './base-backup.ts'
import { lineTo } from './stage.ts'

const PASSWORD = 'a long and quiet river'

test('after a failover that loses commits, devices bring back what they hold, and all agree', async () => {
  const host = await startHost()
  const line = await lineTo(host.url)
  const node = await startNode({ DATABASE_URL: line.url })
  atEnd(node.close)
  const credentials = { username: `ann-${randomUUID().slice(0, 8)}`, password: PASSWORD }
  const call = callerTo(node.url)
  const email = `${credentials.username}@example.com`
  expect((await call('POST', '/api/register/', { ...credentials, email })).status).toBe(201)
  const { access } = (await call('POST', '/api/token/', credentials)).body
  const rest = callerTo(node.url, { authorization: `Bearer ${access}` })
  const [phone, laptop] = [
    await signedIn(node.url, credentials),
    await signedIn(node.url, credentials),
  ]
  const early = await Promise.all([1, 2, 3, 4].map((n) => phone.tasks.add({ title: `Early ${n}` })))
  await agreed(phone, laptop)

  await host.backUp()
  await early[0]!.incrementalPatch({ title: 'Edited on the phone' })
  await early[1]!.incrementalRemove()
  const onLaptop = await laptop.tasks.findOne(early[2]!.id).exec(true)
  await onLaptop.incrementalPatch({ description: 'Edited on the laptop' })
  await laptop.tasks.add({ title: 'New on the laptop' })
  await rest('PATCH', `/api/tasks/${early[3]!.id}/`, { title: 'Edited over REST' })
  await agreed(phone, laptop)
  const before = await tasksOf(phone)
  expect(await storedAt(rest)).toEqual(before)

  for (const client of [phone, laptop]) await client.sync.pause()
  line.cut()
  await host.goBack()
  line.pass()
  // Meanwhile the feed goes on, past what the devices have seen of the other one.
  const make = async (title: string) => (await rest('POST', '/api/tasks/', { title })).status
  await expect.poll(() => make('Made since'), { timeout: 20_000 }).toBe(201)
  for (let n = 0; n < 20; n++) expect(await make('Made since')).toBe(201)
  for (const client of [phone, laptop]) await client.sync.resume()
  await expect.poll(async () => (await storedAt(rest)).length, { timeout: 30_000 }).toBe(25)
  await agreed(phone, laptop)
  const after = await tasksOf(phone)
  expect(after.filter(({ title }) => title !== 'Made since').map(typedOf)).toEqual(
    before.map(typedOf),
  )
  expect(await tasksOf(laptop)).toEqual(after)
  expect(await storedAt(rest)).toEqual(after)
  expect((await rest('GET', '/api/conflicts/')).body.count).toBe(0)
  expect(node.log()).not.toMatch(/"status":500/)
})

const typedOf = ({
  id,
  title,
  description,
}: {
  id: string
  title: string
  description: string
}) => ({
  id,
  title,
  description,
})

async function signedIn(url: string, credentials: { username: string; password: string }) {
  const client = await device({ url })
  await client.session.signIn(credentials)
  await client.sync.awaitInSync()
  return client
}

async function agreed(...clients: Client[]): Promise<void> {
  for (const client of clients) await client.sync.awaitInSync()
  for (const client of clients) await until(client.sync.status$, (status) => status === 'synced')
}

async function storedAt(rest: ReturnType<typeof callerTo>) {
  const { results } = (await rest('GET', '/api/tasks/?page_size=100')).body
  return results.sort((a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1))
}

/** A Postgres of its own, which can go over to another timeline, as a standby that is promoted. */
async function startHost() {
  const folder = await mkdtemp(path.join(tmpdir(), 'tasktide-failover-'))
  atEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  const [dataDir, standby, log] = ['data', 'standby', 'log'].map((name) => path.join(folder, name))
  let postgres: EmbeddedPostgres = await startEmbeddedPostgres({
    dataDir: dataDir!,
    settings: { wal_keep_size: '512MB' },
  })
  atEnd(() => postgres.stop())
  const cluster = clusterIn(dataDir!)
  const admin = connectTo(postgres.url)
  await migrate(admin)
  await admin.destroy()

  return {
    url: postgres.url,

    /** Copies the database as it is now, while it runs. */
    backUp: () => backUp(postgres.url, cluster, standby!),

    /** The copy becomes the database, and begins another timeline. */
    async goBack() {
      await postgres.stop()
      cpSync(path.join(cluster, 'pg_wal'), log!, { recursive: true })
      rmSync(cluster, { recursive: true })
      renameSync(standby!, cluster)
      writeFileSync(path.join(cluster, 'recovery.signal'), '')
      postgres = await startEmbeddedPostgres({
        dataDir: dataDir!,
        settings: {
          restore_command: `cp ${log}/%f %p`,
          recovery_target: 'immediate',
          recovery_target_action: 'promote',
        },
      })
    },
  }
}
