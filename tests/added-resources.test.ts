import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createRxDatabase, type RxCollection } from 'rxdb'
import { replicateRxCollection } from 'rxdb/plugins/replication'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { io } from 'socket.io-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type * as sdk from '../client-sdk/index.ts'
import type { WireDocument } from '../protocol/index.ts'
import type * as epochs from '../server/store/epoch.ts'
import type * as purges from '../server/store/purge.ts'
import { createNetwork, type Network } from './client-sdk/network.ts'
import type * as servers from './support/server.ts'
import type { Person, TestServer } from './support/server.ts'

/**
 * Three resources are added to a copy of the repository as CONTRIBUTING.md says, and everything else is
 * taken from that copy: the server, its migrations, the SDK and its build.
 */
const NAMES = ['plans', 'subtasks', 'comments'] as const
const ROOT = path.join(import.meta.dirname, '..')
const COPIED = [
  'protocol',
  'migrations',
  'server',
  'client-sdk',
  'tests/protocol',
  'tests/support',
  'package.json',
  'tsconfig.json',
]

let copy: string
/** What was written into the copy: lines by file. */
const written = new Map<string, number>()
beforeAll(async () => {
  copy = await mkdtemp(path.join(tmpdir(), 'tasktide-added-'))
  const isSource = (file: string) => !/node_modules|[\\/]dist\b/.test(path.relative(ROOT, file))
  for (const name of COPIED)
    await cp(path.join(ROOT, name), path.join(copy, name), { recursive: true, filter: isSource })
  await symlink(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'))
  for (const name of NAMES) await add(name)
}, 120_000)
afterAll(() => rm(copy, { recursive: true, force: true }))

/** Steps 1 to 3 of CONTRIBUTING.md. */
async function add(name: string): Promise<void> {
  const [definition, table] = await Promise.all(
    [`${name}.ts`, `${name}-table.ts`].map((file) =>
      readFile(path.join(ROOT, 'tests/added', file), 'utf8'),
    ),
  )
  await write(`protocol/${name}.ts`, definition!.replaceAll("'../../protocol/", "'./"))
  await edit('protocol/index.ts', (text) =>
    text
      .replace("import { tasks } from './tasks.ts'\n", `$&import { ${name} } from './${name}.ts'\n`)
      .replace(/(?<=export const resources = \{)(?=[^}]*\})/, ` ${name},`),
  )
  const migrations = await readFile(path.join(copy, 'migrations/index.ts'), 'utf8')
  const number = String([...migrations.matchAll(/'(\d{4})_/g)].length + 1).padStart(4, '0')
  await write(`migrations/${number}_${name}.ts`, table!)
  await edit('migrations/index.ts', (text) =>
    text
      .replace(
        /(?=\n\/\*\* Every migration)/,
        `import * as ${name} from './${number}_${name}.ts'\n`,
      )
      .replace(/(?<=const migrations[^}]*)(?=\n\})/, `\n  '${number}_${name}': ${name},`),
  )
}

async function write(file: string, text: string): Promise<void> {
  await writeFile(path.join(copy, file), text)
  written.set(file, text.trimEnd().split('\n').length)
}

async function edit(file: string, change: (text: string) => string): Promise<void> {
  const before = await readFile(path.join(copy, file), 'utf8')
  const after = change(before)
  const former = new Set(before.split('\n'))
  const lines = after.split('\n').filter((line) => !former.has(line)).length
  expect(lines, file).toBeGreaterThan(0)
  await writeFile(path.join(copy, file), after)
  written.set(file, (written.get(file) ?? 0) + lines)
}

function run(...args: string[]): Promise<{ isGood: boolean; output: string }> {
  return new Promise((resolve) => {
    const env = { PATH: process.env.PATH, NO_COLOR: '1' }
    execFile(process.execPath, args, { cwd: copy, env }, (error, stdout, stderr) =>
      resolve({ isGood: !error, output: stdout + stderr }),
    )
  })
}
const TSC = path.join(ROOT, 'node_modules/typescript/bin/tsc')
const VITEST = path.join(ROOT, 'node_modules/vitest/vitest.mjs')

/** An app of somebody else. */
const APP = `
import { createClient, type Comment, type Documents, type NewDocuments } from './sdk/index.js'
import { useDocuments } from './sdk/react.js'
declare const storage: Parameters<typeof createClient>[0]['storage']
const client = await createClient({ url: '', storage, resources: ['tasks', 'plans', 'comments'] })
const plan = await client.plans.insert({ labels: ['urgent'] })
const labels: string[] = plan.labels
const settings: Record<string, unknown> = plan.settings
await client.comments.insert({ task_id: plan.id, body: 'Two cabins' })
const comment: Comment = (await client.comments.findOne().exec(true)).toMutableJSON()
const found: Documents['comments'][] | undefined = useDocuments(client, 'comments', (all) => all.find({ selector: { task_id: plan.id } }))
const draft: NewDocuments['comments'] = { task_id: comment.task_id }
// @ts-expect-error: it says what it is about
await client.comments.insert({ body: 'Two cabins' })
// @ts-expect-error: labels are texts
await client.plans.insert({ labels: [1] })
// @ts-expect-error: there is no such field
await client.plans.insert({ mood: 'good' })
// @ts-expect-error: it was not opened
client.subtasks
export { labels, settings, found, draft }
`

test('they compile without another line, on the server and in an app', async () => {
  expect(await run(TSC, '--noEmit')).toMatchObject({ isGood: true, output: '' })
  const sdk = path.join(copy, 'app/sdk')
  const build = path.join(copy, 'client-sdk/build/build.mjs')
  const script = `import(${JSON.stringify(build)}).then((one) => one.buildPackage(${JSON.stringify(sdk)}))`
  expect(await run('-e', script)).toMatchObject({ isGood: true })
  await writeFile(path.join(copy, 'app/app.mts'), APP)
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--lib', 'es2023,dom']
  const compiled = await run(TSC, ...flags, '--module', 'nodenext', 'app/app.mts')
  expect(compiled).toMatchObject({ isGood: true, output: '' })
}, 120_000)

test('the test of fingerprints asks for theirs, and CONTRIBUTING.md says how much there is to write', async () => {
  const file = 'tests/protocol/fingerprint.test.ts'
  await writeFile(path.join(copy, 'vitest.config.ts'), 'export default {}')
  const asked = await run(VITEST, 'run', file)
  const fingerprints = [...asked.output.matchAll(/^\s*\+\s+("(\w+)@[\d.]+"): ("\w{12}"),$/gm)]
  expect(fingerprints.map(([, , name]) => name).sort()).toEqual([...NAMES, ...NAMES].sort())
  for (const [, key, , value] of fingerprints)
    await edit(file, (text) =>
      text.replace(
        key!.includes('.') ? 'const KEPT = {' : 'const WIRE = {',
        `$&\n  ${key}: ${value},`,
      ),
    )
  expect(await run(VITEST, 'run', file)).toMatchObject({ isGood: true })

  const contributing = await readFile(path.join(ROOT, 'CONTRIBUTING.md'), 'utf8')
  const steps = /## Add a resource\n([\s\S]+?)To change a resource/.exec(contributing)![1]!
  const files = [...written.keys()].map((name) => name.replace(/\d{4}_/, '000N_'))
  for (const name of files)
    expect(steps).toContain(NAMES.reduce((text, one) => text.replace(one, 'projects'), name))
  const lines = [...written.values()].reduce((sum, count) => sum + count, 0)
  expect(steps).toContain(`${lines} lines in total`)
}, 120_000)

type Added = Record<(typeof NAMES)[number], RxCollection>
type Device = sdk.Client & Added

/** A device behind a network of its own. */
interface Party {
  client: Device
  network: Network
}

describe('a person with a phone, a laptop, other clients and the API', () => {
  let server: TestServer
  let ann: Person
  let phone: Party
  let laptop: Party
  const task = { id: '', second: '' }
  beforeAll(async () => {
    const { startServer } = await load<typeof servers>('tests/support/server.ts')
    server = await startServer({ MIGRATE_ON_START: 'true' })
    ann = await server.person()
    phone = await party()
    laptop = await party()
  }, 120_000)
  afterAll(async () => {
    for (const { client, network } of [phone, laptop]) {
      await client.close()
      await network.close()
    }
    await server.stop()
  })

  async function party(): Promise<Party> {
    const { createClient } = await load<typeof sdk>('client-sdk/index.ts')
    const network = await createNetwork(server.url)
    const client = (await createClient({
      url: network.url,
      storage: getRxStorageMemory(),
      name: network.url,
      // Together no more than RxDB allows.
      resources: ['tasks', 'conflicts', ...(NAMES as readonly string[] as sdk.ResourceName[])],
      pollInterval: 3_600_000,
    })) as Device
    await client.session.signIn(ann)
    return { client, network }
  }

  const inSync = async (...parties: Party[]) => {
    for (const { client } of parties) await client.sync.awaitInSync()
  }
  const of = async ({ client }: Party, name: (typeof NAMES)[number]) => {
    const found = await client[name].find({ sort: [{ id: 'asc' }] }).exec()
    return found.map((one) => one.toMutableJSON())
  }
  /** What REST has of a resource, in the order of `of`. */
  const listed = async (name: string) =>
    (await ann.call('GET', `/api/${name}/`)).body.results.sort(
      (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1),
    )
  const pulled = async (name: string): Promise<WireDocument[]> =>
    (await ann.call('GET', `/replication/${name}/0/pull?lwt=0&id=`)).body.documents
  const expectAgreement = async () => {
    for (const name of NAMES) {
      expect(await of(phone, name)).toEqual(await of(laptop, name))
      expect(await listed(name)).toEqual(await of(phone, name))
    }
  }

  test('has all that either device makes on both, in frames', async () => {
    const socket = io(server.url, { transports: ['websocket'], auth: { token: ann.access } })
    await new Promise((resolve) => socket.on('ready', resolve))
    const seen = new Set<string>()
    socket.on('changes', ({ documents }: { documents?: object }) => {
      for (const name of Object.keys(documents ?? {})) seen.add(name)
    })
    await inSync(phone, laptop)
    laptop.network.seen.length = 0
    const { client } = phone
    task.id = (await client.tasks.add({ title: 'Ferry' })).id
    await client.plans.insert({ labels: ['b', 'a'], settings: { zoom: { b: 1, a: [2] } } })
    const root = await client.subtasks.insert({ title: 'root' })
    await client.subtasks.insert({ title: 'child', parent_id: root.id })
    await client.comments.insert({ body: 'Two cabins', task_id: task.id })
    await inSync(phone)
    await expect.poll(() => of(laptop, 'comments').then(({ length }) => length)).toBe(1)
    await expect.poll(() => of(laptop, 'subtasks').then(({ length }) => length)).toBe(2)
    await expect.poll(() => of(laptop, 'plans').then(({ length }) => length)).toBe(1)
    expect(laptop.network.seen.filter((one) => one.includes('/pull'))).toEqual([])
    await expect.poll(() => [...seen]).toEqual(expect.arrayContaining([...NAMES]))
    socket.disconnect()
    await expectAgreement()
  })

  test('works offline on both, and all agree: sets merge by element, a tree goes as one', async () => {
    for (const { network } of [phone, laptop]) network.cut()
    const one = async (party: Party, name: (typeof NAMES)[number], selector = {}) =>
      party.client[name].findOne({ selector }).exec(true)
    await (await one(phone, 'plans')).patch({ labels: ['a', 'c'] })
    await (await one(laptop, 'plans')).patch({ labels: ['a', 'b', 'd'], estimate: 2 })
    const child = await one(laptop, 'subtasks', { title: 'child' })
    await (await one(phone, 'subtasks', { title: 'root' })).remove()
    await child.patch({ title: 'edited' })
    // Each before what it refers to.
    const [second, parent] = [crypto.randomUUID(), crypto.randomUUID()]
    await laptop.client.comments.insert({ body: 'Before its task', task_id: second })
    await laptop.client.subtasks.insert({ title: 'before its parent', parent_id: parent })
    await laptop.client.subtasks.insert({ id: parent, title: 'parent' })
    await laptop.client.tasks.add({ id: second, title: 'Train' })
    task.second = second

    for (const party of [phone, laptop]) {
      party.network.mend()
      party.client.sync.wake()
      await inSync(party)
    }
    await inSync(phone, laptop)
    await expectAgreement()
    expect(await of(phone, 'plans')).toMatchObject([{ labels: ['a', 'c', 'd'], estimate: 2 }])
    expect((await of(phone, 'subtasks')).map(({ title }) => title).sort()).toEqual([
      'before its parent',
      'parent',
    ])
    expect(await of(phone, 'comments')).toHaveLength(2)
    const [lost, ...others] = await phone.client.conflicts.find().exec()
    expect(others).toEqual([])
    expect(lost).toMatchObject({ cause: 'deletion', lost: { title: 'edited' } })
  })

  test('restores, edits and deletes through the API, and devices follow', async () => {
    const root = (await pulled('subtasks')).find(({ title }) => title === 'root')!
    expect((await ann.call('POST', `/api/subtasks/${root.id}/restore/`)).status).toBe(200)
    await inSync(phone, laptop)
    expect((await of(phone, 'subtasks')).map(({ title }) => title)).toEqual(
      expect.arrayContaining(['root', 'child']),
    )
    const [plan] = await of(phone, 'plans')
    const changed = await ann.call('PATCH', `/api/plans/${plan.id}/`, { labels: ['z', 'a'] })
    expect(changed).toMatchObject({ status: 200, body: { labels: ['a', 'z'] } })
    expect((await ann.call('DELETE', `/api/tasks/${task.id}/`)).status).toBe(204)
    await inSync(phone, laptop)
    expect(await of(laptop, 'comments')).toMatchObject([{ task_id: task.second }])
    await expectAgreement()
  })

  test('uses RxDB without the SDK', async () => {
    const database = await createRxDatabase({
      name: crypto.randomUUID(),
      storage: getRxStorageMemory(),
    })
    const text = { type: 'string', maxLength: 100 }
    const { comments } = await database.addCollections({
      comments: {
        schema: {
          version: 0,
          primaryKey: 'id',
          type: 'object',
          properties: { id: text, body: text, task_id: text, updated_at: text },
        },
      },
    })
    type Comment = { id: string; body: string; task_id: string }
    const at = '/replication/comments/0'
    const replication = replicateRxCollection<Comment, { id: string; lwt: number }>({
      replicationIdentifier: 'comments',
      collection: comments as RxCollection<Comment>,
      live: true,
      pull: {
        handler: async (checkpoint = { id: '', lwt: 0 }) =>
          (await ann.call('GET', `${at}/pull?id=${checkpoint.id}&lwt=${checkpoint.lwt}`)).body,
      },
      push: { handler: async (rows) => (await ann.call('POST', `${at}/push`, rows)).body },
    })
    await replication.awaitInitialReplication()
    expect(await comments!.count().exec()).toBe(1)
    await comments!.insert({ id: crypto.randomUUID(), body: 'By RxDB', task_id: task.second })
    await replication.awaitInSync()
    await inSync(phone)
    expect((await of(phone, 'comments')).map(({ body }) => body)).toContain('By RxDB')
    await database.close()
  })

  test('finds them in the description and in the export', async () => {
    const { body: api } = await server.call('GET', '/api/schema/')
    for (const name of NAMES)
      expect(Object.keys(api.paths)).toEqual(
        expect.arrayContaining([
          `/api/${name}/`,
          `/api/${name}/{id}/`,
          `/replication/${name}/0/push`,
        ]),
      )
    const exported = await ann.call('GET', '/api/account/export/')
    for (const name of NAMES) expect(exported.body[name]).toHaveLength((await pulled(name)).length)
  })

  test('is told when the database was restored, and leaves nothing behind when deleted', async () => {
    const { db } = server.testDatabase
    const cursors = await Promise.all(
      NAMES.map(
        async (name) =>
          (await ann.call('GET', `/replication/${name}/0/pull?lwt=0&id=`)).body.checkpoint,
      ),
    )
    const { beginEpoch } = await load<typeof epochs>('server/store/epoch.ts')
    await beginEpoch(db) // what `npm run restored` does
    for (const [i, name] of NAMES.entries()) {
      const { id, lwt } = cursors[i]
      const reply = await ann.call('GET', `/replication/${name}/0/pull?lwt=${lwt}&id=${id}`)
      expect(reply).toMatchObject({ status: 410, body: { code: 'checkpoint_expired' } })
    }
    const { purgeDocuments } = await load<typeof purges>('server/store/purge.ts')
    await purgeDocuments(db, ann.id)
    for (const name of NAMES) expect(await db(name).where({ user_id: ann.id })).toEqual([])
  })
})

/** A module of the copy. */
function load<T>(file: string): Promise<T> {
  return import(/* @vite-ignore */ path.join(copy, file)) as Promise<T>
}
