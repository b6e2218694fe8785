import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
// @ts-expect-error: a script without types
import { ensureTarball } from '../../client-sdk/build/tarball.mjs'
import { openDevice, story } from '../end-to-end/stage.ts'
import { eventually } from '../end-to-end/tab.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { installStarter, says, serve, VITE } from './starter.ts'

let server: TestServer
beforeAll(async () => {
  await ensureTarball()
  server = await startServer()
})
afterAll(() => server.stop())

const install = (name: string) => installStarter(name, server.url)

story.each([
  ['react', ['build', 'test']],
  ['vue', ['build']],
])(
  'the starter for %s is built, and signs in and adds a task from another origin',
  async (name, scripts) => {
    const starter = await install(name)
    for (const script of scripts) await starter.run(script)
    await isUsable(await serve(starter, VITE, 'preview', '--port', '0'))
  },
)

story('the starter for Next.js is built and rendered, and signs in and adds a task', async () => {
  const starter = await install('nextjs')
  await starter.run('build')
  const url = await serve(starter, 'node_modules/next/dist/bin/next', 'start', '-p', '0')
  // The server renders what is there before the client.
  expect(await (await fetch(url)).text()).toContain('Loading…')
  await isUsable(url)
})

test('the starter for React Native is type-checked, and bundled by Metro', async () => {
  const starter = await install('react-native')
  await starter.run('build')
  const metadata = await readFile(path.join(starter.folder, 'dist/metadata.json'), 'utf8')
  expect(JSON.parse(metadata).fileMetadata.android.bundle).toMatch(/\.hbc$/)
})

test('the bot adds a daily task again when it is completed', async () => {
  const ann = await server.person()
  const starter = await install('node-bot')
  const bot = starter.start('bot.js', [], {
    TASKTIDE_USERNAME: ann.username,
    TASKTIDE_PASSWORD: ann.password,
  })
  await says(bot, /Watching/)
  const task = { title: 'Water the plants', description: '#daily', due_date: '2026-11-30' }
  const { body } = await ann.call('POST', '/api/tasks/', task)
  await ann.call('PATCH', `/api/tasks/${body.id}/`, { completed: true })
  await says(bot, /Water the plants: 2026-12-01/)
  const tasks = async () => {
    const { results } = (await ann.call('GET', '/api/tasks/?ordering=due_date')).body
    return results.map(({ description, due_date, completed }: typeof body) => ({
      description,
      due_date,
      completed,
    }))
  }
  await eventually(tasks).toEqual([
    { description: '', due_date: '2026-11-30', completed: true },
    { description: '#daily', due_date: '2026-12-01', completed: false },
  ])
  const ended = new Promise((resolve) => bot.once('exit', resolve))
  bot.kill('SIGTERM')
  expect(await ended).toBe(0)
})

test('the script prints what is due, with a token that can only read, until that is revoked', async () => {
  const ann = await server.person()
  const { password } = ann
  const token = { name: 'Report', scopes: ['tasks:read'], password }
  const { body } = await ann.call('POST', '/api/account/tokens/', token)
  await ann.call('POST', '/api/tasks/', { title: 'Ferry', due_date: '2026-01-05' })
  const starter = await installStarter('script', server.url, false)
  const script = starter.start('due.js', [], { TASKTIDE_TOKEN: body.token })
  const ended = new Promise((resolve) => script.once('exit', resolve))
  await says(script, /1 due\n2026-01-05 Ferry/)
  await ann.call('POST', '/api/tasks/', { title: 'Train', due_date: '2026-01-06' })
  await says(script, /2 due\n2026-01-05 Ferry\n2026-01-06 Train/)
  const said = says(script, /401: /)
  await ann.call('DELETE', `/api/account/tokens/${body.id}/`)
  await said
  expect(await ended).toBe(1)
})

/** At another origin than the server's. */
async function isUsable(url: string): Promise<void> {
  const ann = await server.person()
  const device = await openDevice(server)
  const page = await device.context.newPage()
  await page.goto(url)
  await page.getByLabel('Username').fill(ann.username)
  await page.getByLabel('Password').fill('a wrong password')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await eventually(() => page.getByRole('alert').first().innerText()).toMatch(/password/)
  await page.getByLabel('Username').fill(ann.username)
  await page.getByLabel('Password').fill(ann.password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('No tasks yet').waitFor()
  await page.getByLabel('New task').fill('Ferry')
  await page.getByRole('button', { name: 'Add' }).click()
  await page.getByRole('checkbox', { name: 'Ferry' }).click()
  const done = async () => (await ann.call('GET', '/api/tasks/?completed=true')).body.count
  await eventually(done).toBe(1)
  await page.reload()
  await page.getByRole('checkbox', { name: 'Ferry', checked: true }).waitFor()
}
