import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { describe, expect, inject, test } from 'vitest'
import type { Problem } from '../../../protocol/index.ts'
import { connect as connectPool } from '../../../server/database/connect.ts'
import { poolState } from '../../../server/database/pool.ts'
import { createReadiness, UNREADY, type UnreadyReason } from '../../../server/health/readiness.ts'
import { MAX_AN_HOUR } from '../../../server/reminders/reminders.ts'
import { createMetrics } from '../../../server/runtime/metrics.ts'
import { atEnd } from '../../support/at-end.ts'
import { connectTo } from '../../support/cluster.ts'
import { createDatabase } from '../../support/database.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

const TOKEN = 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A'

async function serve(environment: Record<string, string> = {}): Promise<TestServer> {
  const server = await startServer(environment)
  atEnd(() => server.stop())
  return server
}

describe('what load balancers ask', () => {
  test('a node is not ready while nobody gets a connection of its pool', async () => {
    const { testDatabase } = await serve()
    const target = { url: testDatabase.url, tls: 'off' } as const
    const limits = { poolSize: 1, statementTimeoutMs: 30_000, servesRequests: true }
    const pool = connectPool({ ...target, ...limits })
    const readiness = createReadiness(target, poolState(pool))
    atEnd(() => pool.destroy())
    atEnd(readiness.close)
    const answer = () =>
      readiness.check().then(
        () => 'ready',
        ({ message }: Error) => message,
      )
    const holder = await pool.transaction()
    expect(await answer()).toBe('ready')
    const waiting = pool.raw('select 1').catch((error: Error) => error.name)
    await expect.poll(answer, { timeout: 5_000 }).toMatch(/^This node is overloaded/)
    expect(await waiting).toBe('Overloaded')
    await holder.rollback()
    await expect.poll(answer, { timeout: 5_000 }).toBe('ready')
  })

  test('a node is not ready while somebody has been waiting for a connection for two seconds', async () => {
    const { testDatabase } = await serve()
    let longest = 1_999
    const pool = { longestWait: () => longest, isOverloaded: () => false }
    const readiness = createReadiness({ url: testDatabase.url, tls: 'off' }, pool)
    atEnd(readiness.close)
    await readiness.check()
    longest = 2_001
    await expect(readiness.check()).rejects.toThrow(/^All database connections/)
  })

  test('a node has all reasons for which it is not ready, each with a code and what to do', async () => {
    const { testDatabase } = await serve()
    const pool = { longestWait: () => 2_001, isOverloaded: () => true }
    const target = { url: testDatabase.url.replace(/:\d+\//, ':1/'), tls: 'off' } as const
    const readiness = createReadiness(target, pool, () => -60_000)
    atEnd(readiness.close)
    const problem: Problem = await readiness.check().then(
      () => expect.unreachable(),
      (error) => error,
    )
    expect(problem.body().reasons).toEqual({
      overloaded: 'This node is overloaded; use another one.',
      connections_busy: 'All database connections of this node are busy; use another one.',
      clock_wrong:
        "The clock of this machine is 60 seconds behind the database's; synchronize it (NTP).",
      database_unreachable: 'The database is unreachable; try again later.',
    })
    expect(problem.message).toBe(Object.values(problem.body().reasons!).join(' '))
    readiness.drain()
    expect(await readiness.reasons()).toEqual(['stopping'])
  })

  test('is answered while all is well', async () => {
    const { call } = await serve()
    expect(await call('GET', '/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } })
    const ready = await call('GET', '/readyz')
    expect(ready).toMatchObject({ status: 200, body: { status: 'ready' } })
    await expectSamples({ call }, unreadyFor())
    expect(ready.headers.get('cache-control')).toBe('no-store')
  })

  test.each(['/healthz', '/readyz', '/metrics'])(
    'is answered in plain HTTP too, where others are sent to HTTPS: %s',
    async (path) => {
      const { call } = await serve({ PUBLIC_URL: 'https://tasks.example.com', TRUST_PROXY: '1' })
      expect((await call('GET', path)).status).toBe(200)
      expect((await call('GET', '/api/schema/')).status).toBe(308)
    },
  )

  test('a node whose database is away is alive and not ready, until it is back', async () => {
    const { call, testDatabase } = await serve()
    expect((await call('GET', '/readyz')).status).toBe(200)
    const admin = connectTo(inject('adminUrl'))
    atEnd(() => admin.destroy())
    const name = new URL(testDatabase.url).pathname.slice(1)
    await admin.raw(`alter database ${name} allow_connections false`)
    await admin.raw('select pg_terminate_backend(pid) from pg_stat_activity where datname = ?', [
      name,
    ])

    expectUnready(await call('GET', '/readyz'), 'database_unreachable')
    expect((await call('GET', '/healthz')).status).toBe(200)
    await expectSamples({ call }, unreadyFor('database_unreachable'))

    await admin.raw(`alter database ${name} allow_connections true`)
    expect((await call('GET', '/readyz')).status).toBe(200)
  })

  test('a line that says nothing any more is a database that is away, and the next one is new', async () => {
    const { url, drop } = await createDatabase()
    atEnd(drop)
    const line = await lineTo(url)
    const { call } = await serve({ DATABASE_URL: line.url })
    atEnd(line.close)
    expect((await call('GET', '/readyz')).status).toBe(200)
    line.silence()
    const answer = await Promise.race([call('GET', '/readyz'), sleep(4_000, undefined)])
    expectUnready(answer!, 'database_unreachable')
    await expect
      .poll(async () => (await call('GET', '/readyz')).status, { timeout: 15_000 })
      .toBe(200)
  })

  test('a node all of whose connections are at work is ready', async () => {
    const { call, database } = await serve({ DATABASE_POOL_SIZE: '1' })
    const work = await database.db.transaction()
    atEnd(() => work.rollback())
    expect((await call('GET', '/readyz')).status).toBe(200)
  })

  test('a node is not ready while the database is behind it, and is when it is ahead', async () => {
    const { call, testDatabase } = await serve()
    const migrations = () => testDatabase.db('knex_migrations')
    const last = await migrations().orderBy('id', 'desc').first()
    await migrations().where({ id: last.id }).delete()
    expectUnready(await call('GET', '/readyz'), 'schema_outdated')
    await migrations().insert([last, { ...last, id: last.id + 1, name: '9999_of_the_future' }])
    expect((await call('GET', '/readyz')).status).toBe(200)
  })

  test('a node that was told to stop finishes what it has begun and is not ready', async () => {
    const server = await startServer()
    const ann = await server.person()
    const { db } = server.testDatabase
    const feed = await db.transaction()
    await feed.raw('select from feeds where user_id = ? for update', [ann.id])
    const body = JSON.stringify({ title: 'Milk' })
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    let answers = ''
    socket.on('data', (data) => {
      answers += data
    })
    const closed = once(socket, 'close')
    socket.write(
      `POST /api/tasks/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann.access}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    await expect.poll(() => waitingForLocks(db)).toBe(1)

    const stopped = server.stop()
    socket.write('GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await expect.poll(() => server.logged.some((line) => line.includes('/readyz'))).toBe(true)
    await feed.rollback()
    await Promise.all([closed, stopped])
    expect(answers).toMatch(/^HTTP\/1.1 201 [\s\S]+HTTP\/1.1 503 [\s\S]+This node is stopping/)
  })
})

describe('metrics', () => {
  test.each([
    ['to everybody in development', {}, undefined, 200],
    ['to nobody in production', { NODE_ENV: 'production' }, undefined, 404],
    ['to nobody in production, whatever they send', { NODE_ENV: 'production' }, '', 404],
    ['to whoever has the token', { METRICS_TOKEN: TOKEN }, TOKEN, 200],
    ['in production too', { NODE_ENV: 'production', METRICS_TOKEN: TOKEN }, TOKEN, 200],
    ['not without it', { METRICS_TOKEN: TOKEN }, undefined, 404],
    ['not for another', { METRICS_TOKEN: TOKEN }, `${TOKEN}A`, 404],
  ])('are told %s', async (_, environment, token, status) => {
    const { call } = await serve(environment as Record<string, string>)
    const headers = { ...(token !== undefined && { authorization: `Bearer ${token}` }) }
    const reply = await call('GET', '/metrics', undefined, { headers })
    expect(reply.status).toBe(status)
    if (status === 200) {
      expect(reply.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
      expect(reply.text).toMatch(/^process_cpu_user_seconds_total \d/m)
    } else expect(reply.text).not.toContain('tasktide_')
  })

  test('count requests by operation, method and status', async () => {
    const server = await serve()
    const ann = await server.person()
    await ann.call('GET', '/api/tasks/?search=milk')
    await ann.call('GET', '/api/tasks/')
    await ann.call('GET', '/api/tasks/?nonsense=1')
    await ann.call('GET', '/nowhere/')
    const requests = 'tasktide_http_request_seconds_count'
    await expectSamples(server, {
      [`${requests}{operation="list_tasks",method="GET",status="200"}`]: 2,
      [`${requests}{operation="list_tasks",method="GET",status="400"}`]: 1,
      [`${requests}{operation="sign_in",method="POST",status="200"}`]: 1,
      [`${requests}{operation="none",method="GET",status="404"}`]: 1,
    })
  })

  test('count requests that the client cut off as 499, and so does the log', async () => {
    const server = await serve()
    const ann = await server.person()
    const holder = await server.testDatabase.db.transaction()
    atEnd(() => holder.rollback())
    await holder.raw('lock table tasks in access exclusive mode')
    const leave = new AbortController()
    const request = fetch(`${server.url}/api/tasks/`, {
      signal: leave.signal,
      headers: { authorization: `Bearer ${ann.access}`, 'x-request-id': 'left-early' },
    })
    await expect.poll(() => server.database.db.client.pool.numUsed()).toBe(1)
    leave.abort()
    await expect(request).rejects.toThrow()
    await expect
      .poll(() => lineOf(server, 'left-early'))
      .toMatchObject({ status: 499, cut_off: true })
    await expectSamples(server, {
      'tasktide_http_request_seconds_count{operation="list_tasks",method="GET",status="499"}': 1,
    })
  })

  test('a request whose client has left before its work began changes nothing', async () => {
    const server = await serve()
    const ann = await server.person()
    const { body } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    // Until the session is looked up again.
    server.app.sessions.forgetStanding(ann.id)
    const holder = await server.testDatabase.db.transaction()
    atEnd(() => holder.rollback())
    await holder.raw('lock table sessions in access exclusive mode')
    const leave = new AbortController()
    const request = fetch(`${server.url}/api/tasks/${body.id}/`, {
      method: 'DELETE',
      signal: leave.signal,
      headers: { authorization: `Bearer ${ann.access}`, 'x-request-id': 'left-early' },
    })
    await expect.poll(() => server.database.db.client.pool.numUsed()).toBe(1)
    leave.abort()
    await expect(request).rejects.toThrow()
    await expect.poll(() => lineOf(server, 'left-early')).toMatchObject({ status: 499 })
    await holder.rollback()
    // It waits for the same look-up as the one that left.
    expect((await ann.call('GET', '/api/profile/')).status).toBe(200)
    await expect.poll(() => server.database.db.client.pool.numUsed()).toBe(0)
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
  })

  test('say nothing of people, and are as many for two as for one', async () => {
    const server = await serve()
    const words: string[] = []
    const live = async (name: string) => {
      const person = await server.person(name)
      const { body } = await person.call('POST', '/api/tasks/', { title: `Milk for ${name}` })
      await person.call('GET', `/api/tasks/${body.id}/?${name}=1`)
      await person.call('GET', `/${name}/`)
      await person.call('PROPFIND', `/${name}/`)
      await server.call('GET', '/api/tasks/', undefined, { headers: { 'x-request-id': name } })
      words.push(name, person.id, person.access, person.refresh, body.id)
      await expectSamples(server, {
        'tasktide_http_request_seconds_count{operation="none",method="other",status="404"}':
          words.length / 5,
      })
      return series(await metricsOf(server))
    }
    const ofOne = await live('annabel')
    expect(await live('bartholomew')).toEqual(ofOne)
    const text = await metricsOf(server)
    expect(words.filter((word) => text.includes(word))).toEqual([])
  })

  test('have how long changes took from their commit to a device, on each node', async () => {
    const here = await serve()
    const there = await serve({ DATABASE_URL: here.testDatabase.url })
    const ann = await here.person()
    const frames = await follow(here, ann)
    await ann.call('POST', '/api/tasks/', { title: 'written here' })
    await frames.next()
    await expectSamples(here, {
      tasktide_commit_to_device_seconds_count: 1,
      tasktide_sockets_open: 1,
    })

    await personOn(there, ann)('POST', '/api/tasks/', { title: 'written there' })
    await frames.next()
    const counts = { tasktide_commit_to_device_seconds_count: 2, tasktide_frames_sent_total: 2 }
    await expectSamples(here, counts)
    await expectSamples(there, { tasktide_commit_to_device_seconds_count: 0 })

    // Of what is only found by looking, nobody knows how old it is.
    await here.testDatabase.db('tasks').update({ title: 'by an administrator' })
    await here.app.followers.sweep()
    await frames.next()
    await expectSamples(here, { ...counts, tasktide_frames_sent_total: 3 })
    expect(here.logged.concat(there.logged).filter((line) => line.includes('"level":50'))).toEqual(
      [],
    )
  })

  test('take for that latency the time since the commit, and none for a clock that is ahead', async () => {
    const metrics = createMetrics()
    metrics.frame(700)
    metrics.frame(-60_000)
    const bucket = 'tasktide_commit_to_device_seconds_bucket'
    const told = samples(await metrics.text())
    expect(told).toMatchObject({
      [`${bucket}{le="0.0025"}`]: 1,
      [`${bucket}{le="0.5"}`]: 1,
      [`${bucket}{le="+Inf"}`]: 2,
    })
    expect(told.tasktide_commit_to_device_seconds_sum).toBe(0.7)
  })

  test('count event streams while they are open, and not as requests', async () => {
    const server = await serve()
    const ann = await server.person()
    const leave = new AbortController()
    const response = await fetch(`${server.url}/replication/tasks/0/pullStream`, {
      headers: { authorization: `Bearer ${ann.access}` },
      signal: leave.signal,
    })
    await response.body!.getReader().read()
    await expectSamples(server, { tasktide_event_streams_open: 1 })
    leave.abort()
    await expectSamples(server, { tasktide_event_streams_open: 0 })
    expect(await metricsOf(server)).not.toMatch(/operation="[^"]*stream/i)
  })

  test('show a pool that is too small', async () => {
    const server = await serve({ DATABASE_POOL_SIZE: '1' })
    const ann = await server.person()
    const work = await server.database.db.transaction()
    const waiting = ann.call('GET', '/api/tasks/')
    await expectSamples(server, {
      tasktide_database_pool_in_use: 1,
      tasktide_database_pool_idle: 0,
      tasktide_database_pool_waiting: 1,
    })
    await work.rollback()
    expect((await waiting).status).toBe(200)
  })

  test('show the queue of jobs: what waits, how long, and what was given up', async () => {
    const server = await serve()
    const { db } = server.testDatabase
    await server.person()
    await expectSamples(server, {
      tasktide_jobs_waiting: 1,
      tasktide_jobs_failing: 0,
      tasktide_jobs_given_up: 0,
    })
    await db.raw(`update graphile_worker._private_jobs set run_at = now() - interval '1 hour'`)
    const { tasktide_jobs_oldest_seconds: oldest } = samples(await metricsOf(server))
    expect(oldest).toBeGreaterThanOrEqual(3600)
    const failed = (attempts: string) =>
      db.raw(
        `update graphile_worker._private_jobs set last_error = 'no answer', attempts = ${attempts}`,
      )
    await failed('1')
    await expectSamples(server, { tasktide_jobs_failing: 1, tasktide_jobs_given_up: 0 })
    await failed('max_attempts')
    await expectSamples(server, {
      tasktide_jobs_waiting: 0,
      tasktide_jobs_failing: 0,
      tasktide_jobs_given_up: 1,
    })
  })

  test('show the age of the oldest due reminder, except those over the hourly limit', async () => {
    const server = await serve()
    const { db } = server.testDatabase
    const [ann, bob] = [await server.person(), await server.person()]
    const age = async () => samples(await metricsOf(server)).tasktide_reminders_oldest_seconds
    const remind = async ({ call, id }: Person, ago: string) => {
      const remind_at = '2100-01-01T00:00:00.000Z'
      await call('POST', '/api/tasks/', { title: 'Ferry', remind_at })
      await db('reminders')
        .where({ user_id: id })
        .update({ due_at: db.raw(`now() - interval '${ago}'`) })
    }
    expect(await age()).toBe(0)
    await remind(ann, '10 minutes')
    await remind(bob, '1 hour')
    expect(await age()).toBeGreaterThanOrEqual(3600)
    const sent = {
      user_id: bob.id,
      recipient: 'bob@example.com',
      letter: 'reminder',
      outcome: 'sent',
    }
    const mails = Array.from({ length: MAX_AN_HOUR }, (_, i) => ({
      ...sent,
      id: randomUUID(),
      cause: `reminder ${i}`,
      data: {},
      locale: 'en',
      timezone: 'UTC',
      created_at: new Date(),
      settled_at: new Date(),
    }))
    await db('mails').insert(mails)
    expect(await age()).toBeCloseTo(600, -2)
  })

  test('count sockets that are refused', async () => {
    const server = await serve()
    const socket = io(server.url, {
      transports: ['websocket'],
      reconnection: false,
      auth: { token: 'nonsense' },
    })
    atEnd(() => socket.disconnect())
    await new Promise((refused) => socket.once('connect_error', refused))
    await expectSamples(server, { tasktide_sockets_refused_total: 1 })
  })

  test('leave out what cannot be had, and tell the rest', async () => {
    const metrics = createMetrics()
    let answer: () => Promise<number> = async () => 5
    metrics.gauge('queue', 'Jobs that wait.', () => answer())
    metrics.gauge('stuck', 'Never known.', () => new Promise(() => {}))
    expect(samples(await metrics.text())).toMatchObject({ queue: 5 })
    answer = () => Promise.reject(new Error('the database is away'))
    const without = samples(await metrics.text())
    expect(without).toMatchObject({ tasktide_frames_sent_total: 0 })
    expect(without).not.toHaveProperty('queue')
    expect(without).not.toHaveProperty('stuck')
  })
})

function expectUnready(reply: Reply, reason: UnreadyReason) {
  expect(reply).toMatchObject({ status: 503, body: { code: 'unavailable' } })
  expect(reply.body.reasons).toEqual({ [reason]: UNREADY[reason] })
  expect(reply.body.detail).toBe(UNREADY[reason])
  expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0)
}

const unreadyFor = (reason?: UnreadyReason) =>
  Object.fromEntries(
    Object.keys(UNREADY).map((name) => [
      `tasktide_unready{reason="${name}"}`,
      Number(name === reason),
    ]),
  )

const metricsOf = async ({ call }: Pick<TestServer, 'call'>) => (await call('GET', '/metrics')).text

/** An answer may be read before its request is counted. */
async function expectSamples(server: Pick<TestServer, 'call'>, expected: Record<string, number>) {
  await expect.poll(async () => samples(await metricsOf(server))).toMatchObject(expected)
}

/** Values by series, labels included. */
function samples(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

/** The names of our own series: Node's own come and go with what it has open. */
const series = (text: string) =>
  Object.keys(samples(text))
    .filter((name) => name.startsWith('tasktide_'))
    .sort()

/** A device that takes one frame after the other. */
async function follow(server: TestServer, person: Person) {
  const socket = io(server.url, {
    transports: ['websocket'],
    reconnection: false,
    auth: { token: person.access },
  })
  atEnd(() => socket.disconnect())
  let arrived = 0
  let taken = 0
  let wake = () => {}
  socket.on('changes', () => {
    arrived++
    wake()
  })
  await new Promise((ready) => socket.once('ready', ready))
  return {
    async next() {
      taken++
      while (arrived < taken)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    },
  }
}

function personOn(server: TestServer, { access }: Person): TestServer['call'] {
  return (method, path, body) =>
    server.call(method, path, body, { headers: { authorization: `Bearer ${access}` } })
}

/** A line to the database, which can go silent for all who are on it by then. */
async function lineTo(databaseAddress: string) {
  const url = new URL(databaseAddress)
  const port = Number(url.port || 5432)
  const directory = url.searchParams.get('host')
  const path = directory?.startsWith('/') ? `${directory}/.s.PGSQL.${port}` : undefined
  const sockets: Socket[] = []
  const server = createServer((near) => {
    const far = path ? connect(path) : connect(port, url.hostname)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.push(from)
      from.on('error', () => {})
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  url.search = ''
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)
  return {
    url: url.toString(),
    silence() {
      for (const socket of sockets) socket.unpipe().pause()
    },
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

async function waitingForLocks(db: TestServer['testDatabase']['db']): Promise<number> {
  const { rows } = await db.raw(`select count(*)::int from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`)
  return rows[0].count
}

function lineOf({ logged }: TestServer, request: string): object | undefined {
  const line = logged.find((line) => line.includes(`"request_id":"${request}"`))
  return line === undefined ? undefined : JSON.parse(line)
}
