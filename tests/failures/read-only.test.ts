import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { connect } from '../../server/database/connect.ts'
import { startEmbeddedPostgres } from '../../server/database/embedded/embedded-postgres.ts'
import { poolState } from '../../server/database/pool.ts'
import { createReadiness } from '../../server/health/readiness.ts'
import { atEnd } from '../support/at-end.ts'
import { connectTo } from '../support/cluster.ts'
import { lineTo, setStage } from './stage.ts'

test('on a read-only database, reads are answered, writes are told to come back, and the node is not ready', async () => {
  const { database, places, people } = await setStage()
  const place = places[0]!
  const [ann] = await people(1)
  const call = ann!.at(place)
  expect((await call('POST', '/api/tasks/', { title: 'Milk' })).status).toBe(201)
  const name = new URL(place.line.url).pathname.slice(1)
  const others = `from pg_stat_activity where datname = '${name}' and pid <> pg_backend_pid()`

  // Existing sessions learn of it as those of a primary do that was demoted: they end.
  await database.db.raw(`alter database ${name} set default_transaction_read_only = on`)
  await database.db.raw(`select pg_terminate_backend(pid) ${others}`)
  await expect.poll(async () => (await call('GET', '/api/tasks/')).status).toBe(200)
  for (const write of [
    () => call('POST', '/api/tasks/', { title: 'Bread' }),
    () =>
      call('POST', '/replication/tasks/0/push', [
        { newDocumentState: { id: ann!.id, title: 'Bread' } },
      ]),
    () => call('PATCH', '/api/profile/', { timezone: 'Europe/Lisbon' }),
  ]) {
    const refused = await write()
    expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable' } })
    expect(refused.body.detail).toMatch(/read-only/)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  }
  expect((await call('GET', '/api/tasks/')).body.count).toBe(1)
  expect(await call('GET', '/readyz')).toMatchObject({
    status: 503,
    body: { reasons: { database_read_only: expect.anything() } },
  })

  // A session keeps the default that it began with: only a new one can write.
  await database.db.raw(`alter database ${name} set default_transaction_read_only = off`)
  await expect
    .poll(async () => (await call('GET', '/readyz')).status, { timeout: 10_000 })
    .toBe(200)
  await expect
    .poll(async () => (await call('POST', '/api/tasks/', { title: 'Bread' })).status, {
      timeout: 10_000,
    })
    .toBe(201)
  expect(place.log()).not.toMatch(/"status":500/)
})

test('of several hosts the first one is used that accepts writes, also after they changed roles', async () => {
  const [one, two] = [await startHost('one'), await startHost('two')]
  await one.set('on')
  const url = one.line.url.replace(/(:\d+)\//, `$1,${new URL(two.line.url).host}/`)
  const target = { url, tls: 'off' } as const
  const pool = connect({ ...target, poolSize: 2, statementTimeoutMs: 5_000 })
  const readiness = createReadiness(target, poolState(pool))
  atEnd(() => Promise.all([pool.destroy(), readiness.close()]))
  const write = async (): Promise<string> => {
    await pool.raw('create table if not exists notes (at timestamptz)')
    const { rows } = await pool.raw('show cluster_name')
    return rows[0].cluster_name
  }
  expect(await write()).toBe('two')

  await two.set('on')
  const reason = () => readiness.check().catch(({ message }) => message)
  await expect.poll(reason, { timeout: 10_000 }).toMatch(/read-only/)
  await expect(write()).rejects.toMatchObject({ code: '25006' })
  await one.set('off')
  await expect.poll(() => write().catch(() => undefined), { timeout: 10_000 }).toBe('one')

  await two.set('off')
  one.line.cut()
  await expect.poll(() => write().catch(() => undefined), { timeout: 10_000 }).toBe('two')
})

/** A Postgres of its own, behind a line. */
async function startHost(cluster_name: string) {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'tasktide-host-'))
  atEnd(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }))
  const settings = { cluster_name, fsync: 'off' }
  const postgres = await startEmbeddedPostgres({ dataDir, settings })
  atEnd(postgres.stop)
  const admin = connectTo(postgres.url)
  atEnd(() => admin.destroy())
  return {
    line: await lineTo(postgres.url),
    /** Whether it is read-only: for sessions that there are and for new ones. */
    async set(value: 'on' | 'off') {
      await admin.raw(`alter system set default_transaction_read_only = ${value}`)
      await admin.raw('select pg_reload_conf()')
      const setting = async () =>
        (await admin.raw('show default_transaction_read_only')).rows[0]
          .default_transaction_read_only
      await expect.poll(setting).toBe(value)
    },
  }
}
