/** A tab in a thread of its own, which can be put to sleep for real. */
import { parentPort, workerData } from 'node:worker_threads'
import { Leader, type LeaderMessage } from '../../client-sdk/tabs/leader.ts'
import { Tabs } from '../../client-sdk/tabs/tabs.ts'

const { name, sleep } = workerData as { name: string; sleep: SharedArrayBuffer }
const leader = new Leader(new Tabs<LeaderMessage>(name, true))
leader.isLeader$.subscribe((isLeader) => parentPort!.postMessage({ isLeader }))
parentPort!.on('message', (message) => {
  if (message === 'sleep') {
    parentPort!.postMessage({ asleep: true })
    Atomics.wait(new Int32Array(sleep), 0, 0)
  }
})
