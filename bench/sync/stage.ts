/** What the measurements of replication stand on: three servers, people on each, and a device. */
import { existsSync } from 'node:fs'
import { v7 as uuidv7 } from 'uuid'
import { resources } from '../../protocol/index.ts'
import type { Database } from '../../server/database/connect.ts'
import { postgresStore } from '../../server/store/postgres.ts'
import type { Latencies } from '../latencies.ts'
import { addPerson, type Ground, type ServerProcess, watchedQueries } from '../stage.ts'
import { taskOf } from '../tasks.ts'
import type { Endpoint, LiveJob, PullJob, PullResult, PushJob } from './device.ts'
import { bodiesOf, created } from './rows.ts'

export const serverNames = ['ours', 'bare', 'peer'] as const
export type ServerName = (typeof serverNames)[number]

/** The same person's tasks on every server. */
export type Endpoints = Record<ServerName, Endpoint>

export interface SyncStage {
  servers: Record<ServerName, ServerProcess>
  device: Device
  /** Somebody with so many tasks, the same on every server. */
  person(name: PersonName, tasks: number): Promise<Endpoints>
  /** Somebody without any, another one on each server. */
  newcomer(): Promise<Endpoints>
}

const personNames = ['paged', 'few', 'many', 'listener'] as const
type PersonName = (typeof personNames)[number]

/** The peer takes no more than 16 collections. */
export const MAX_NEWCOMERS = 16 - personNames.length

/** @param profileDir where ours leaves a CPU profile when it ends, if it is to */
export async function setSyncStage(ground: Ground, profileDir?: string): Promise<SyncStage> {
  if (!existsSync('tests/peers/node_modules'))
    throw new Error('Install the peer first: npm ci --prefix tests/peers')
  const { db } = ground
  const newcomerNames = Array.from({ length: MAX_NEWCOMERS }, (_, i) => `newcomer${i}`)
  const servers = {
    ours: await ground.startOurs(profileDir),
    bare: await ground.startServer(['dist/bench/bare.js'], {
      BENCH_STATEMENTS: JSON.stringify(await sentStatements(db)),
    }),
    peer: await ground.startServer(['dist/bench/sync/peer.js'], {
      BENCH_COLLECTIONS: [...personNames, ...newcomerNames].join(','),
    }),
  }
  const device = startDevice(ground)
  return {
    servers,
    device,
    async person(name, count) {
      const tasks = Array.from({ length: count }, (_, n) => taskOf(uuidv7(), n))
      const { access } = await addPerson(db, name, tasks)
      const endpoints = endpointsOf(name, { ours: access, bare: access, peer: access })
      await device.push({ ...endpoints.peer, bodies: bodiesOf(created(tasks), 1_000) })
      await db.raw('vacuum analyze')
      return endpoints
    },
    async newcomer() {
      const name = newcomerNames.shift()!
      const { access: ours } = await addPerson(db, name, [])
      const { access: bare } = await addPerson(db, `${name}_of_bare`, [])
      return endpointsOf(name, { ours, bare, peer: ours })
    },
  }

  function endpointsOf(name: string, access: Record<ServerName, string>): Endpoints {
    const { ours, bare, peer } = servers
    return {
      ours: { url: `${ours.url}/replication/tasks/0`, access: access.ours },
      bare: { url: `${bare.url}/replication/tasks/0`, access: access.bare },
      peer: { url: `${peer.url}/${name}/0`, access: access.peer },
    }
  }
}

export interface Device {
  pull(job: Omit<PullJob, 'kind'>): Promise<PullResult>
  push(job: Omit<PushJob, 'kind'>): Promise<{ ms: number }>
  live(job: Omit<LiveJob, 'kind'>): Promise<Latencies>
}

export function startDevice(ground: Ground): Device {
  const run = ground.startWorker('dist/bench/sync/device.js')
  return {
    pull: (job) => run({ kind: 'pull', ...job }),
    push: (job) => run({ kind: 'push', ...job }),
    live: (job) => run({ kind: 'live', ...job }),
  }
}

/** The SQL that bare runs: as the real store sends it, but a push is one statement. */
async function sentStatements(db: Database) {
  const { id } = await addPerson(db, 'watched', [])
  const store = postgresStore(db)
  const { tasks } = resources
  const [pull] = await watchedQueries(() => store.page(id, tasks, 0, 1))
  const document = taskOf(uuidv7(), 0)
  const sent = await watchedQueries(() =>
    store.transaction(id, (transaction) =>
      transaction.write(tasks, [{ deleted: false, document }]),
    ),
  )
  const push = sent.find(({ text }) => text?.includes('json_to_recordset'))
  if (!pull?.name || !push?.name)
    throw new Error('The store sends other statements than were looked for')
  return {
    pull: { name: pull.name, text: pull.text },
    push: { name: push.name, text: push.text },
  }
}
