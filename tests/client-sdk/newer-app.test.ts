import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { firstValueFrom } from 'rxjs'
import { afterAll, beforeAll, expect } from 'vitest'
import type * as sdk from '../../client-sdk/index.ts'
import type * as servers from '../support/server.ts'
import { deviceOf, tasksOf, until } from './device.ts'
import { test } from './fixtures.ts'

/** The next release, in a copy of the repository: its tasks have one more field. */
const ROOT = path.join(import.meta.dirname, '../..')
const COPIED = [
  'protocol',
  'migrations',
  'server',
  'client-sdk',
  'tests/support',
  'package.json',
  'tsconfig.json',
]

let copy: string
const load = <T>(file: string): Promise<T> => import(/* @vite-ignore */ path.join(copy, file))

beforeAll(async () => {
  copy = await mkdtemp(path.join(tmpdir(), 'tasktide-newer-'))
  const filter = (file: string) => !/node_modules|[\\/]dist\b/.test(path.relative(ROOT, file))
  for (const name of COPIED)
    await cp(path.join(ROOT, name), path.join(copy, name), { recursive: true, filter })
  await symlink(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'))
  await edit('protocol/tasks.ts', (text) =>
    text
      .replace('  version: 0,\n', '$&  revision: 1,\n')
      .replace('  fields: {\n', "$&    mood: nullable(text('How it feels.', { max: 50 })),\n")
      .replace('  initial: {\n', '$&    mood: null,\n'),
  )
  await writeFile(
    path.join(copy, 'migrations/9999_mood.ts'),
    `import type { Knex } from 'knex'
     export const up = (knex: Knex) => knex.raw('alter table tasks add column mood text')
     export const down = (knex: Knex) => knex.raw('alter table tasks drop column mood')`,
  )
  await edit('migrations/index.ts', (text) =>
    text
      .replace(/(?=\n\/\*\* Every migration)/, "import * as mood from './9999_mood.ts'\n")
      .replace(/(?<=const migrations[^}]*)(?=\n\})/, "\n  '9999_mood': mood,"),
  )
})
afterAll(() => rm(copy, { recursive: true, force: true }))

async function edit(file: string, change: (text: string) => string): Promise<void> {
  const before = await readFile(path.join(copy, file), 'utf8')
  const after = change(before)
  expect(after).not.toBe(before)
  await writeFile(path.join(copy, file), after)
}

test('edits of an app that is newer than the server are sent without what they leave alone, or wait until that is updated', async ({
  server,
  network,
  ann,
  onTestFinished,
}) => {
  const { createClient } = await load<typeof sdk>('client-sdk/index.ts')
  const phone = await createClient({
    url: network.url,
    storage: getRxStorageMemory(),
    name: 'newer',
  })
  onTestFinished(() => phone.close())
  await phone.session.signIn(ann)
  await phone.sync.awaitInSync()
  const laptop = await deviceOf(server, ann)
  const task = await laptop.tasks.add({ title: 'Ferry' })
  await laptop.sync.awaitInSync()
  await phone.sync.awaitInSync()

  const titles = async () =>
    (await ann.call('GET', '/api/tasks/?ordering=title')).body.results.map(
      ({ title }: { title: string }) => title,
    )
  const onPhone = await phone.tasks.findOne(task.id).exec(true)
  await onPhone.incrementalPatch({ title: 'Night ferry', priority: 'high' })
  const bus = await phone.tasks.add({ title: 'Bus' })
  await phone.sync.awaitInSync()
  await expect.poll(titles).toEqual(['Bus', 'Night ferry'])
  const { body } = await ann.call('GET', `/api/tasks/${bus.id}/`)
  expect((await tasksOf(phone)).find(({ id }) => id === bus.id)).toMatchObject(body)
  await laptop.sync.awaitInSync()
  expect((await laptop.tasks.findOne(task.id).exec(true)).title).toBe('Night ferry')

  await onPhone.getLatest().incrementalPatch({ title: 'Slow ferry', mood: 'calm' } as never)
  await phone.tasks.add({ title: 'Train', mood: 'glad' } as never)
  await phone.categories.insert({ name: 'Travel' })
  const { error } = await until(phone.sync.state$, ({ error }) => error !== null)
  expect(error).toMatchObject({ code: 'unknown_field', message: /older than this app: 2 changes/ })
  expect(await firstValueFrom(phone.sync.rejected$)).toEqual([])
  expect(await firstValueFrom(phone.sync.pending$)).toBe(2)
  expect(await titles()).toEqual(['Bus', 'Night ferry'])
  await expect.poll(async () => (await ann.call('GET', '/api/categories/')).body.count).toBe(1)
  expect((await phone.tasks.findOne(task.id).exec(true)).title).toBe('Slow ferry')

  const { startServer } = await load<typeof servers>('tests/support/server.ts')
  const { url } = server.testDatabase
  const updated = await startServer({ DATABASE_URL: url, MIGRATE_ON_START: 'true' })
  onTestFinished(() => updated.stop())
  network.leadTo(updated.url)
  phone.sync.wake()
  await phone.sync.awaitInSync()
  expect(await titles()).toEqual(['Bus', 'Slow ferry', 'Train'])
  expect(await firstValueFrom(phone.sync.rejected$)).toEqual([])
  await laptop.sync.awaitInSync()
  expect((await laptop.tasks.findOne(task.id).exec(true)).title).toBe('Slow ferry')
})

test('an edit with a field that the app does not know either is rejected', async ({
  server,
  ann,
}) => {
  const phone = await deviceOf(server, ann)
  const task = await phone.tasks.add({ title: 'Ferry' })
  await phone.sync.awaitInSync()
  const typo = { moood: 'Glad' } as never
  await expect(task.incrementalPatch(typo)).rejects.toMatchObject({ code: 'invalid' })
  // As an earlier release of the app has stored it.
  const { storageInstance } = phone.tasks
  const [previous] = await storageInstance.findDocumentsById([task.id], false)
  const updated_at = new Date().toISOString()
  const document = Object.assign({ ...previous!, updated_at }, typo)
  await storageInstance.bulkWrite([{ previous: previous!, document }], 'rx-document-patch')
  const [rejected] = await until(phone.sync.rejected$, (rows) => rows.length > 0)
  expect(rejected).toMatchObject({
    id: task.id,
    code: 'invalid',
    errors: { '': [expect.stringContaining('moood')] },
  })
})
