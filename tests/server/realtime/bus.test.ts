import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { describe, expect, test, vi } from 'vitest'
import type { OpenBus } from '../../../server/realtime/bus.ts'
import { postgresBus } from '../../../server/realtime/postgres-bus.ts'
import { redisBus } from '../../../server/realtime/redis-bus.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { atEnd } from '../../support/at-end.ts'
import { busContract } from '../../support/bus-contract.ts'
import { createCertificate } from '../../support/certificate.ts'
import { createDatabase } from '../../support/database.ts'
import { hasRedis, startRedis } from '../../support/redis.ts'
import { openTransactionPooler } from '../../support/transaction-pooler.ts'

const silent = createLog('silent', { readable: false, to: { write() {} } })
const withoutRedis = !hasRedis()

busContract('Postgres', async () => {
  const database = await createDatabase()
  return {
    url: database.url,
    open: (url) => postgresBus({ url, tls: 'off' }, silent),
    close: database.drop,
  }
})

busContract(
  'Redis',
  async () => {
    const redis = await startRedis()
    return { url: redis.url, open: (url) => redisBus(url, silent), close: redis.close }
  },
  { skip: withoutRedis },
)

/** The log of a bus, and its first gap. */
async function watched(open: (log: typeof silent) => OpenBus) {
  const lines: string[] = []
  const log = createLog('warn', { readable: false, to: { write: (line) => void lines.push(line) } })
  let reconnected = () => {}
  const gap = new Promise<void>((resolve) => {
    reconnected = resolve
  })
  const bus = await open(log)({ message() {}, lost() {}, gap: () => reconnected() })
  atEnd(bus.close)
  return { bus, gap, logged: () => lines.join('') }
}

test('a connection that answers, and to which no notification comes, is replaced', async () => {
  const database = await createDatabase()
  atEnd(database.drop)
  const pooler = await openTransactionPooler(database.url, { processes: 1 })
  atEnd(pooler.close)
  const { gap, logged } = await watched((log) => postgresBus({ url: pooler.url, tls: 'off' }, log))
  pooler.mute()
  await gap
  expect(logged()).toContain('notifications do not arrive')
})

test('a node that is alone sends nothing, until another one comes', async () => {
  const database = await createDatabase()
  atEnd(database.drop)
  const open = (heard: string[] = []) =>
    postgresBus(
      { url: database.url, tls: 'off' },
      silent,
    )({ message: (text) => heard.push(text), lost() {}, gap() {} })
  const observer = new pg.Client(database.url)
  await observer.connect()
  atEnd(() => observer.end())
  await observer.query('listen tasktide')
  const observed: (string | undefined)[] = []
  observer.on('notification', ({ payload }) => observed.push(payload))

  const here = await open()
  atEnd(here.close)
  let count = 0
  const isSent = async () => {
    const text = `message ${count++}`
    await here.send([text])
    await observer.query('select 1') // which brings what was sent before
    return observed.includes(text)
  }
  expect(await isSent()).toBe(true)
  await vi.waitUntil(async () => !(await isSent()), { timeout: 30_000, interval: 200 })
  const heard: string[] = []
  const there = await open(heard)
  atEnd(there.close)
  await vi.waitUntil(isSent)
  await here.send(['welcome'])
  await vi.waitUntil(() => heard.includes('welcome'))
}, 60_000)

describe('the password of REDIS_URL is not logged', () => {
  const PASSWORD = 'a-harbour-at-night'
  const withPassword = (url: string) => url.replace('://', `://:${PASSWORD}@`)

  test.skipIf(withoutRedis)('where it is wrong', async () => {
    const redis = await startRedis({ requirepass: 'another one' })
    atEnd(redis.close)
    const { bus, logged } = await watched((log) => redisBus(withPassword(redis.url), log))
    expect(bus.isConnected()).toBe(false)
    expect(logged()).toContain('Redis answers WRONGPASS')
    expect(logged()).not.toContain(PASSWORD)
  })

  test('where the server is too old, and repeats what it does not understand', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () =>
        socket.write(
          `-ERR unknown command \`HELLO\`, with args beginning with: \`3\`, \`AUTH\`, \`default\`, \`${PASSWORD}\`, \r\n`,
        ),
      )
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    atEnd(() => server.close())
    const { port } = server.address() as net.AddressInfo
    const { logged } = await watched((log) =>
      redisBus(`redis://:${PASSWORD}@127.0.0.1:${port}`, log),
    )
    expect(logged()).toContain('Redis answers ERR')
    expect(logged()).not.toContain(PASSWORD)
  })

  test('where nothing listens', async () => {
    const { logged } = await watched((log) => redisBus(withPassword('redis://127.0.0.1:1'), log))
    expect(logged()).toContain('ECONNREFUSED')
    expect(logged()).not.toContain(PASSWORD)
  })
})

test.skipIf(withoutRedis)('rediss: encrypts, and checks the certificate', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'tasktide-tls-'))
  atEnd(() => rm(folder, { recursive: true }))
  const { certificate, key } = createCertificate()
  const [certificateFile, keyFile] = ['certificate', 'key'].map((name) => path.join(folder, name))
  await writeFile(certificateFile!, certificate)
  await writeFile(keyFile!, key)
  const redis = await startRedis({
    'tls-cert-file': certificateFile!,
    'tls-key-file': keyFile!,
    'tls-ca-cert-file': certificateFile!,
    'tls-auth-clients': 'no',
  })
  atEnd(redis.close)
  const { bus, logged } = await watched((log) => redisBus(redis.url, log))
  expect(bus.isConnected()).toBe(false)
  expect(logged()).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')

  const module = new URL('../../../server/realtime/redis-bus.ts', import.meta.url).href
  const script = `
    const { redisBus } = await import('${module}')
    const log = { warn: console.error, info() {} }
    const bus = await redisBus('${redis.url}', log)({ message: console.log, gap() {}, lost() {} })
    await bus.send(['encrypted'])
    await bus.close()`
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '-e', script],
    { env: { ...process.env, NODE_EXTRA_CA_CERTS: certificateFile! } },
  )
  expect(stdout).toBe('encrypted\n')
})
