import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { build } from 'esbuild'
import { afterEach, expect, test, vi } from 'vitest'
import { Leader, type LeaderMessage } from '../../client-sdk/tabs/leader.ts'
import { Tabs } from '../../client-sdk/tabs/tabs.ts'
import { until } from './device.ts'

const opened: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close()
})

function open(name: string): Leader {
  const tabs = new Tabs<LeaderMessage>(name, true)
  const leader = new Leader(tabs)
  opened.push({
    close() {
      leader.close()
      tabs.close()
    },
  })
  return leader
}

/** Of two claims of one millisecond, the ids decide. */
async function nextMillisecond(): Promise<void> {
  const before = Date.now()
  await vi.waitUntil(() => Date.now() > before, { interval: 1 })
}

test('the tab opened last leads, and another one after it is closed', async () => {
  const name = randomUUID()
  const first = open(name)
  expect(first.isLeader$.value).toBe(true)
  await nextMillisecond()
  const second = open(name)
  await until(first.isLeader$, (isLeader) => !isLeader)
  expect(second.isLeader$.value).toBe(true)
  opened.pop()!.close()
  await until(first.isLeader$, (isLeader) => isLeader)
})

test('a tab that is closing does not lead again when another one leaves', async () => {
  const tabs = new Tabs<LeaderMessage>(randomUUID(), true)
  const leader = new Leader(tabs)
  opened.push(tabs)
  leader.close()
  tabs.message$.next({ kind: 'leave', id: 'another' })
  leader.lead()
  expect(leader.isLeader$.value).toBe(false)
})

test('a suspended leader does not block the others, and yields when it resumes', async () => {
  const name = randomUUID()
  const first = open(name)
  const sleep = new SharedArrayBuffer(4)
  const { outputFiles } = await build({
    entryPoints: [path.join(import.meta.dirname, 'leader-tab.ts')],
    bundle: true,
    write: false,
    platform: 'node',
  })
  const worker = new Worker(outputFiles[0]!.text, { eval: true, workerData: { name, sleep } })
  opened.push({ close: () => worker.terminate() })
  const [started] = await once(worker, 'message')
  expect(started).toEqual({ isLeader: true })
  await until(first.isLeader$, (isLeader) => !isLeader)

  worker.postMessage('sleep')
  await once(worker, 'message')
  await until(first.isLeader$, (isLeader) => isLeader)

  const awake = once(worker, 'message')
  Atomics.notify(new Int32Array(sleep), 0)
  expect((await awake)[0]).toEqual({ isLeader: false })
  expect(first.isLeader$.value).toBe(true)
})

test('after the clock was set back, a tab still takes over from a closed one', async () => {
  const name = randomUUID()
  const second = open(name)
  await nextMillisecond()
  const tabs = new Tabs<LeaderMessage>(name, true)
  const first = new Leader(tabs)
  await until(second.isLeader$, (isLeader) => !isLeader)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 86_400_000 })
  opened.push({ close: () => vi.useRealTimers() })
  tabs.tell = () => {} // killed
  first.close()
  tabs.close()
  await until(second.isLeader$, (isLeader) => isLeader)
})
