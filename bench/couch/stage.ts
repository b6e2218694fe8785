/** What the measurements of the CouchDB face stand on: three servers, and a device with PouchDB. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Latencies } from '../latencies.ts'
import { addPerson, type Ground, type ServerProcess } from '../stage.ts'
import type { CouchEndpoint, CouchLiveJob, CouchPullJob, CouchPushJob } from './device.ts'

export const couchServers = ['ours', 'leveldb', 'memory'] as const
export type CouchServer = (typeof couchServers)[number]

export interface CouchStage {
  servers: Record<CouchServer, ServerProcess>
  device: {
    pull(job: Omit<CouchPullJob, 'kind'>): Promise<{ ms: number; count: number }>
    push(job: Omit<CouchPushJob, 'kind'>): Promise<{ ms: number; count: number }>
    live(job: Omit<CouchLiveJob, 'kind'>): Promise<Latencies>
  }
  /** An empty database on each server. */
  newcomer(): Promise<Record<CouchServer, CouchEndpoint>>
  close(): Promise<void>
}

export async function setCouchStage(ground: Ground, profileDir?: string): Promise<CouchStage> {
  if (!existsSync('tests/peers/node_modules'))
    throw new Error('Install the peer first: npm ci --prefix tests/peers')
  const folder = await mkdtemp(path.join(tmpdir(), 'tasktide-couch-'))
  const startPeer = (adapter: string) =>
    ground.startServer(['dist/bench/couch/peer.js'], {
      BENCH_ADAPTER: adapter,
      BENCH_FOLDER: folder,
    })
  const servers = {
    ours: await ground.startOurs(profileDir),
    leveldb: await startPeer('leveldb'),
    memory: await startPeer('memory'),
  }
  const run = ground.startWorker('dist/bench/couch/device.js')
  let people = 0
  return {
    servers,
    device: {
      pull: (job) => run({ kind: 'pull', ...job }),
      push: (job) => run({ kind: 'push', ...job }),
      live: (job) => run({ kind: 'live', ...job }),
    },
    async newcomer() {
      const name = `person${people++}`
      const { access } = await addPerson(ground.db, name, [])
      return {
        ours: { url: `${servers.ours.url}/couch/tasks`, access },
        leveldb: { url: `${servers.leveldb.url}/${name}`, access },
        memory: { url: `${servers.memory.url}/${name}`, access },
      }
    },
    close: () => rm(folder, { recursive: true, force: true }),
  }
}
