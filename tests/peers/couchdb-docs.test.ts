/** Runs the code of docs/couchdb.md. */
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, vi } from 'vitest'
import { test as served } from '../support/fixtures.ts'
import { type Caller, callerTo, type Person, type TestServer } from '../support/server.ts'

const DOCS = new URL('../../docs/couchdb.md', import.meta.url)
/** Where these packages are found. */
const PLACE = path.join(import.meta.dirname, 'node_modules/.docs')

const test = served.extend('page', async ({ server, ann, task }, { onCleanup }) => {
  const folder = path.join(PLACE, task.id)
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  onCleanup(() => rm(folder, { recursive: true }))
  const text = await readFile(DOCS, 'utf8')
  for (const [, code, name] of text.matchAll(/^```js\n(\/\/ (\w+\.js)\n.*?)^```/gms)) {
    const own = code!
      .replaceAll('http://localhost:3000', server.url)
      .replaceAll(/new PouchDB\('([\w-]+)'/g, `new PouchDB('${folder}/$1'`)
      .replaceAll("from 'rxdb", "from 'rxdb-17")
      .replaceAll("username: 'ann'", `username: '${ann.username}'`)
    await writeFile(path.join(folder, name!), own)
  }
  // biome-ignore lint/suspicious/noExplicitAny: the page has no types
  return (name: string): Promise<any> => import(path.join(folder, name))
})

const EXPIRED_MS = 16 * 60_000

test('PouchDB stays in sync, also when the token has expired', async ({ page, server, ann }) => {
  const { signIn } = await page('session.js')
  await signIn(ann.username, ann.password)
  const { local, sync, rows } = await page('tasks.js')
  const [{ doc }] = rows
  expect(doc).toMatchObject({ title: 'Book the ferry' })
  await expect.poll(() => titlesOnServer(server, ann)).toEqual(['Book the ferry'])
  server.clock.advance(EXPIRED_MS)
  const now = await signInByRest(server, ann)
  await now('POST', '/api/tasks/', { title: 'Milk' })
  await local.put({ ...(await local.get(doc._id)), title: 'Night ferry' })
  const titles = async () => {
    const { rows } = await local.allDocs({
      startkey: 'task:',
      endkey: 'task:\uffff',
      include_docs: true,
    })
    return rows.map((row: typeof doc) => row.doc.title).sort()
  }
  await expect.poll(titles).toEqual(['Milk', 'Night ferry'])
  await expect.poll(() => titlesOnServer(server, ann)).toEqual(['Milk', 'Night ferry'])
  sync.cancel()
  await sync.catch(() => {})
  await local.close()
})

test('a personal token in place of the password gets a copy', async ({ page, ann }) => {
  await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const scopes = ['tasks:read', 'tasks:write', 'profile']
  const asked = { name: 'Copy', password: ann.password, scopes }
  const { body } = await ann.call('POST', '/api/account/tokens/', asked)
  vi.stubEnv('TASKTIDE_TOKEN', body.token)
  const { copy } = await page('copy.js')
  const { rows } = await copy.allDocs({ include_docs: true })
  expect(rows.map(({ doc }: { doc: object }) => doc)).toMatchObject([
    { _id: 'profile:me' },
    { title: 'Milk' },
  ])
  await copy.close()
})

test('a collection of RxDB stays in sync, also when the token has expired', async ({
  page,
  server,
  ann,
}) => {
  const { signIn } = await page('session.js')
  await signIn(ann.username, ann.password)
  await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const { tasks, replication } = await page('rxdb.js')
  const titles = async () =>
    (await tasks.find().exec()).map(({ title }: { title: string }) => title).sort()
  await expect.poll(titles).toEqual(['Milk'])
  const [milk] = await tasks.find().exec()
  await milk.patch({ title: 'Oat milk' })
  const id = randomUUID()
  await tasks.insert({ ...milk.toJSON(), id, title: 'Bread' })
  const onServer = () => titlesOnServer(server, ann)
  await expect.poll(onServer).toEqual(['Bread', 'Oat milk'])
  server.clock.advance(EXPIRED_MS)
  await tasks.findOne(id).patch({ title: 'Rye bread' })
  await expect.poll(onServer).toEqual(['Oat milk', 'Rye bread'])
  await replication.cancel()
  await tasks.database.close()
})

/** With a token of now: the clock has moved. */
async function signInByRest(server: TestServer, { username, password }: Person): Promise<Caller> {
  const { access } = (await server.call('POST', '/api/token/', { username, password })).body
  return callerTo(server.url, { authorization: `Bearer ${access}` })
}

async function titlesOnServer(server: TestServer, person: Person): Promise<string[]> {
  const { results } = (await (await signInByRest(server, person))('GET', '/api/tasks/')).body
  return results.map(({ title }: { title: string }) => title).sort()
}
