import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = path.join(import.meta.dirname, '../../..')
const PATIENCE = { timeout: 60_000, interval: 100 }

let copy: string
let dev: ChildProcess
let output = ''

beforeAll(async () => {
  copy = mkdtempSync(path.join(tmpdir(), 'tasktide-dev-'))
  const parts = ['server', 'protocol', 'migrations', 'client-sdk', 'web', 'scripts']
  for (const part of [...parts, 'package.json', 'package-lock.json', 'tsconfig.json'])
    cpSync(path.join(root, part), path.join(copy, part), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'), 'junction')
  const { PATH, HOME, SystemRoot, TEMP } = process.env
  dev = spawn(process.execPath, ['scripts/dev.mjs'], {
    cwd: copy,
    env: { PATH, HOME, SystemRoot, TEMP, PORT: '0', DATA_DIR: path.join(copy, '.data') },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own, as a terminal makes one
  })
  for (const stream of [dev.stdout!, dev.stderr!])
    stream.on('data', (data) => {
      output += data
    })
})
afterAll(async () => {
  if (dev.exitCode === null && dev.signalCode === null) process.kill(-dev.pid!, 'SIGKILL')
  rmSync(copy, { recursive: true, force: true })
})

type Write = (file: string, text: string) => void
const inPlace: Write = writeFileSync
const byRename: Write = (file, text) => {
  writeFileSync(`${file}.tmp`, text)
  renameSync(`${file}.tmp`, file)
}
const health = async () => JSON.parse(await read('/healthz')).status
const title = async () => /<title>(.*)<\/title>/.exec(await read('/'))?.[1]

test.skipIf(process.platform === 'win32')(
  'npm run dev restarts on every edit, in place or by rename, and stops completely on Ctrl-C',
  { timeout: 300_000 },
  async () => {
    await expect.poll(health, PATIENCE).toBe('ok')
    let before = "body: { status: 'ok'"
    for (const [i, write] of [inPlace, byRename, byRename, inPlace].entries()) {
      const after = `body: { status: 'edit ${i}'`
      edit('server/http/about/about.ts', write, before, after)
      await expect.poll(health, { ...PATIENCE, message: output }).toBe(`edit ${i}`)
      before = after
    }
    edit('web/index.html', byRename, '<title>Tasktide', '<title>By rename')
    await expect.poll(title, PATIENCE).toMatch(/^By rename/)
    edit('web/index.html', inPlace, '<title>By rename', '<title>In place')
    await expect.poll(title, PATIENCE).toMatch(/^In place/)

    // What cannot be compiled is waited out, on the server that runs.
    edit('server/http/about/about.ts', inPlace, 'export function', 'export funktion')
    await expect.poll(() => output, PATIENCE).toMatch(/funktion/)
    expect(await health()).toBe('edit 3')

    process.kill(-dev.pid!, 'SIGINT')
    const [code] = await once(dev, 'exit')
    expect(code).toBe(0)
    await expect.poll(processes, PATIENCE).toEqual([])
  },
)

function edit(file: string, write: Write, from: string, to: string) {
  const whole = path.join(copy, file)
  const text = readFileSync(whole, 'utf8')
  expect(text).toContain(from)
  write(whole, text.replace(from, to))
}

/** From the server that started last. */
async function read(target: string): Promise<string> {
  const url = [...output.matchAll(/listens on (\S+)/g)].at(-1)![1]
  return (await fetch(url + target)).text()
}

/** Those that run anything of the copy, its database included. */
function processes(): string[] {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' })
  return stdout.split('\n').filter((args) => args.includes(copy))
}
