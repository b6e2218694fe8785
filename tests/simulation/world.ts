import { type Resource, resources, settle } from '../../protocol/index.ts'
import type { State } from '../../server/sync/judge.ts'
import type { Store } from '../../server/sync/store.ts'
import { Chance } from './chance.ts'
import { Ledger } from './ledger.ts'
import { Network } from './network.ts'
import { Node } from './node.ts'
import { useDevice, useRest } from './person.ts'
import { Replica } from './replica.ts'
import { Accounts } from './sdk/accounts.ts'
import type { OpenSdk } from './sdk/bundle.ts'
import { SdkDevice } from './sdk/device.ts'
import { Gateway } from './sdk/gateway.ts'
import { corruptApp, settleApp, verifyApp } from './sdk/healing.ts'
import { someTroubles, useSdkDevice } from './sdk/person.ts'
import { withUnhandled } from './sdk/unhandled.ts'
import { type Doorways, steppedStore, Traffic } from './stepped-store.ts'
import { Timeline } from './timeline.ts'

/** The duration of faults, and the maximum time until everything agrees afterwards. */
const TROUBLE_MS = 15_000
const DRAIN_MS = 60_000
const SDK_DRAIN_MS = 300_000
/** The time of a start of the app on a slow line. */
const RESTART_MS = 10_000
/** The maximum time of a self-check on a slow line. */
const VERIFY_MS = 60_000
const HOUR_MS = 3_600_000
/** So that a seed is the same otherwise where nothing fails over or is purged. */
const FAILOVERS = 0x5eed
const PURGES = 0xdead

/** The database of a run. */
export interface Backend {
  /** Empties it and adds these users. */
  open(users: readonly string[]): Promise<void>
  /** Another store on it, for one node. */
  store(): Store
  /** Fails over to a standby without the last commits, where that can be played. */
  failOver?(commits: number): unknown
  /** Purges a user's tombstones up to a number. */
  purge(user: string, upTo: number): Promise<void>
}

export interface RunOptions {
  /** Ignores errors of requests. */
  mayFail?: boolean
  /** Runs the SDK on most devices. Otherwise all are models. */
  openSdk?: OpenSdk
}

export interface Run {
  seed: number
  history: readonly string[]
  /** The broken promises. */
  violations: readonly string[]
  /** The number of events by name. */
  seen: ReadonlyMap<string, number>
}

/**
 * Simulates two users with several devices each, two nodes and one database, first with faults and then
 * without. In the end all devices must have what is stored, and everything that a user typed must be stored
 * or accounted for.
 */
export async function runSeed(
  seed: number,
  backend: Backend,
  { mayFail = false, openSdk }: RunOptions = {},
): Promise<Run> {
  const chance = new Chance(seed)
  const traffic = new Traffic()
  const timeline = new Timeline(chance, () => traffic.atRest())
  const ledger = new Ledger()
  const users = [chance.uuid(), chance.uuid()]
  await backend.open(users)
  const observer = backend.store()

  const doorways: Doorways = new Map()
  const nodes: Node[] = []
  const network = new Network(timeline, nodes)
  for (const name of ['node a', 'node b']) {
    const skew = chance.between(-1_000, 1_000)
    const node = new Node(name, {
      timeline,
      skew,
      hint: (user) => network.hint(node, user),
      failed(error) {
        timeline.tell(name, `FAILS: ${error}`)
        if (!mayFail) ledger.violated(`${name} failed: ${error}`)
      },
    })
    nodes.push(node)
    node.start(
      steppedStore(backend.store(), doorways, {
        traffic,
        pause: () => node.pause(),
        async written(user, landed) {
          const changed = await ledger.written(observer, user, landed)
          if (changed.length > 0) timeline.tell(name, `commits ${changed.join(', ')}`)
          if (landed) node.committed(user)
        },
      }),
    )
  }

  const now = timeline.clock(0)
  for (const user of users) {
    const document = settle(resources.profile, { id: user }, undefined, now)
    await observer.transaction(user, (transaction) =>
      transaction.write(resources.profile, [{ document, deleted: false }]),
    )
    await ledger.written(observer, user, true)
  }

  const sharedIds = Array.from({ length: 4 }, () => chance.uuid())
  const surroundings = { timeline, ledger, network, sharedIds }
  const models = openSdk ? [1, 1] : users.map(() => chance.between(2, 3))
  const devices = users.flatMap((user, u) =>
    Array.from({ length: models[u]! }, (_, d) => {
      const skew = chance.happens(0.4)
        ? chance.between(-HOUR_MS, HOUR_MS)
        : chance.between(-200, 200)
      const keepsRejected = chance.happens(0.6)
      const name = `device ${'ab'[u]}${d + 1}`
      return new Replica(name, { timeline, network, ledger, user, skew, keepsRejected })
    }),
  )
  for (const device of devices) {
    device.start()
    useDevice(device, surroundings, TROUBLE_MS)
  }
  const answered = users.map((user, u) =>
    useRest({ name: `rest ${'ab'[u]}`, user, online: true }, surroundings, TROUBLE_MS),
  )
  const apps = openSdk ? createApps(openSdk) : []
  crashNow(timeline, nodes)
  failOverNow()
  purgeNow()

  await withUnhandled(unhandled, () => timeline.runUntil(TROUBLE_MS))
  timeline.tell('world', 'nothing goes wrong any more')
  network.bad = false
  for (const node of nodes) if (!node.alive) node.restart()
  for (const app of apps) app.disk.heal()
  for (const device of [...devices, ...apps]) device.goOnline(true)
  const drain = apps.length > 0 ? SDK_DRAIN_MS : DRAIN_MS
  let differing = await untilAgreement(TROUBLE_MS + drain)
  if (differing.length === 0) {
    for (const app of apps) await corruptApp(app)
    await withUnhandled(unhandled, () => timeline.runUntil(timeline.now + RESTART_MS))
    for (const app of apps) verifyApp(app)
    differing = await untilAgreement(timeline.now + VERIFY_MS)
  }
  for (const difference of differing) ledger.violated(difference)
  for (const app of apps) {
    app.watch.close()
    for (const tab of [...app.tabs]) tab.kill()
    app.disk.contents.close?.()
  }
  for (const node of nodes) node.crash() // late messages may have left transactions open
  await traffic.atRest()
  for (const user of users) await ledger.close(observer, user)
  return { seed, history: timeline.history, violations: ledger.violations, seen: ledger.seen }

  /** @returns what differs at the end of the time */
  async function untilAgreement(end: number): Promise<string[]> {
    for (;;) {
      for (const app of apps) settleApp(app)
      await withUnhandled(unhandled, () => timeline.runUntil(timeline.now + 2_000))
      const differing = await disagreements(observer, devices, apps)
      if (!answered.every((isDone) => isDone())) differing.push('a REST client has no answer')
      if (differing.length === 0 || timeline.now >= end) return differing
    }
  }

  /** In some seeds, once or twice. */
  function failOverNow(): void {
    const failovers = new Chance(seed ^ FAILOVERS)
    if (!backend.failOver || !failovers.happens(0.25)) return
    for (let times = failovers.between(1, 2); times > 0; times--)
      timeline.after(failovers.between(1_000, TROUBLE_MS - 1_000), async () => {
        const commits = failovers.between(0, 8)
        timeline.tell('world', `FAILS OVER, without ${commits} commits`)
        backend.failOver!(commits)
        for (const user of users) {
          const own = devices.filter((device) => device.user === user)
          const held = [
            ...own.flatMap((one) => one.held()),
            ...apps.flatMap((app) => app.watch.heldOf(user)),
          ]
          await ledger.failedOver(observer, user, held)
        }
        for (const app of apps) app.watch.failedOver()
      })
  }

  /** In some seeds, some times: tombstones that are as old as a device may be offline. */
  function purgeNow(): void {
    const purges = new Chance(seed ^ PURGES)
    if (!purges.happens(0.5)) return
    for (let times = purges.between(1, 4); times > 0; times--) {
      const at = purges.between(1_000, TROUBLE_MS - 1_000)
      let heads: ReadonlyMap<string, { seq: number }> = new Map()
      timeline.after(at, () =>
        traffic.alone(async () => {
          heads = await observer.heads(users)
        }),
      )
      timeline.after(at + purges.between(500, 4_000), async () => {
        for (const [user, { seq }] of heads) await purge(user, seq)
      })
    }
  }

  async function purge(user: string, upTo: number): Promise<void> {
    // It would wait for the writer in the store, for a time that is not deterministic.
    const isWriting = (doorways.get(user)?.inside ?? 0) > 0
    if (isWriting) return void timeline.after(50, () => purge(user, upTo))
    await traffic.alone(async () => {
      timeline.tell('world', `PURGES tombstones up to ${upTo}`)
      await backend.purge(user, upTo)
      const own = devices.filter((device) => device.user === user)
      const creating = own.flatMap((device) => device.creating())
      for (const { watch } of apps) creating.push(...(await watch.creating(user)))
      await ledger.purged(observer, user, new Set(creating))
    })
  }

  function unhandled(error: unknown): void {
    timeline.tell('process', `nobody handles ${error}`)
    ledger.count('unhandled rejections')
  }

  function createApps(openSdk: OpenSdk): SdkDevice[] {
    const accounts = new Accounts(timeline)
    const gateway = new Gateway(accounts)
    const troubles = someTroubles(chance)
    timeline.tell('world', `has trouble with ${[...troubles].join(', ')}`)
    const hasGoodClock = !troubles.has('clock')
    network.hasStrangers = chance.happens(0.5)
    // Matches one of a hundred typed values.
    if (troubles.has('firewalls'))
      network.disliked = new RegExp(`"w\\d*${chance.between(10, 99)} of`)
    const common = { timeline, network, ledger, accounts, gateway, openSdk, hasGoodClock }
    return users.flatMap((owner, u) =>
      Array.from({ length: chance.between(1, 2) }, (_, d) => {
        const hasTabs = chance.happens(0.4)
        const isSlow = troubles.has('slow_lines') && chance.happens(0.5)
        if (isSlow) ledger.count('slow lines')
        const line = isSlow ? { bytesPerSecond: chance.between(1_000, 8_000) } : undefined
        const phones = ['key-value', 'SQLite', undefined] as const
        const storage = hasTabs ? undefined : chance.one(phones)
        const own = { owner, hasTabs, line, storage }
        const app = new SdkDevice(`app ${'ab'[u]}${d + 1}`, { ...common, ...own })
        useSdkDevice(app, { timeline, ledger, users, sharedIds, troubles }, TROUBLE_MS)
        return app
      }),
    )
  }
}

/** Crashes nodes at random. */
function crashNow(timeline: Timeline, nodes: readonly Node[]): void {
  for (const node of nodes) {
    timeline.after(timeline.chance.between(500, 8_000), () => {
      if (timeline.now >= TROUBLE_MS) return
      node.crash()
      timeline.after(timeline.chance.between(50, 2_500), () => {
        if (!node.alive) node.restart()
        crashNow(timeline, [node])
      })
    })
  }
}

/** The differences between devices and stored documents, and unsent edits. */
async function disagreements(
  store: Store,
  devices: readonly Replica[],
  apps: readonly SdkDevice[],
): Promise<string[]> {
  const found: string[] = []
  for (const device of devices) {
    const stored = await storedOf(store, device.user)
    if (device.hasUnsent()) found.push(`${device.name} cannot send its edits`)
    found.push(...device.differences(stored).map((one) => `${device.name} holds ${one}`))
  }
  for (const app of apps) {
    const stored = await storedOf(store, app.owner)
    found.push(...app.watch.differences(app.owner, stored).map((one) => `${app.name} holds ${one}`))
    for (const { name, user, state } of app.tabs)
      if (user !== app.owner || state?.status !== 'synced')
        found.push(`${name} says ${state?.status} to ${user}, pending ${state?.pending}`)
  }
  return found
}

async function storedOf(store: Store, user: string): Promise<Map<string, State>> {
  const stored = new Map<string, State>()
  for (const resource of Object.values<Resource>(resources))
    for (const { document, deleted } of await store.changes(user, resource, 0, 10_000))
      stored.set(`${resource.name} ${document.id}`, { document, deleted })
  return stored
}
