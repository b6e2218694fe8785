import type { Chance } from '../chance.ts'
import type { Timeline } from '../timeline.ts'
import type { Channels } from './channels.ts'
import type { Locks, RequestLock } from './locks.ts'
import type { OpenSocket } from './sockets.ts'

/** The globals of a tab. */
export interface Globals {
  setTimeout: (run: (...args: unknown[]) => void, delay?: number, ...args: unknown[]) => number
  clearTimeout: (timer: number | undefined) => void
  setInterval: (run: (...args: unknown[]) => void, delay?: number, ...args: unknown[]) => number
  clearInterval: (timer: number | undefined) => void
  Date: DateConstructor
  Math: Math
  crypto: { getRandomValues(bytes: Uint8Array): Uint8Array; randomUUID(): string }
  performance: { now(): number }
  fetch: typeof globalThis.fetch
  navigator: { onLine: boolean; locks: { request: RequestLock } }
  document: object | undefined
  BroadcastChannel: unknown
  openSocket: OpenSocket
  addEventListener(event: string, listener: () => void): void
  removeEventListener(event: string, listener: () => void): void
}

interface Dependencies {
  timeline: Timeline
  /** The clock of the device, which may have an error. */
  clock: () => number
  locks: Locks
  channels: Channels
  fetch: typeof globalThis.fetch
  openSocket: OpenSocket
}

/**
 * The globals of one tab, or of one process of an app. Timers are events of the timeline, the clock is the
 * device's, and random values come from the seed. After `kill`, nothing in it runs.
 */
export class Realm {
  isAlive = true
  readonly globals: Globals
  private readonly timeline: Timeline
  private readonly timers = new Map<number, () => void>()
  private readonly listeners = new Map<string, Set<() => void>>()
  private readonly endings: (() => void)[] = []
  private lastTimer = 0
  private sleepsUntil = 0

  constructor({ timeline, clock, locks, channels, fetch, openSocket }: Dependencies) {
    this.timeline = timeline
    const lockOwner = locks.owner(() => this.isAlive)
    this.endings.push(lockOwner.release)
    const hasTabs = channels.areSeveral
    const own: Globals = {
      setTimeout: (run, delay, ...args) => this.later(run, delay, args, false),
      clearTimeout: (timer) => this.clear(timer),
      setInterval: (run, delay, ...args) => this.later(run, delay, args, true),
      clearInterval: (timer) => this.clear(timer),
      Date: dateOf(clock),
      Math: Object.create(Math, { random: { value: () => timeline.chance.next() } }),
      crypto: cryptoOf(timeline.chance),
      performance: { now: () => timeline.now },
      fetch,
      navigator: { onLine: true, locks: { request: lockOwner.request } },
      document: undefined,
      BroadcastChannel: undefined,
      openSocket,
      addEventListener: (event, listener) => this.listenersOf(event).add(listener),
      removeEventListener: (event, listener) => this.listenersOf(event).delete(listener),
    }
    if (hasTabs) {
      const { Channel, close } = channels.open(() => this.isAlive)
      this.endings.push(close)
      own.BroadcastChannel = Channel
      own.document = {
        visibilityState: 'visible',
        addEventListener: own.addEventListener,
        removeEventListener: own.removeEventListener,
      }
    }
    this.globals = Object.create(globalThis, Object.getOwnPropertyDescriptors(own))
  }

  /** Dispatches an event of the window, such as `online`. */
  dispatch(event: string): void {
    for (const listener of this.listenersOf(event)) listener()
  }

  setOnline(online: boolean): void {
    this.globals.navigator.onLine = online
    this.whenAwake(() => this.dispatch(online ? 'online' : 'offline'))
  }

  /** Stops everything in it at once. */
  kill(): void {
    this.isAlive = false
    for (const cancel of this.timers.values()) cancel()
    this.timers.clear()
    for (const end of this.endings) end()
  }

  /** Delays everything in it by this many milliseconds. */
  sleep(duration: number): void {
    this.sleepsUntil = Math.max(this.sleepsUntil, this.timeline.now + duration)
  }

  /** Calls `run` at once, or when a suspended tab resumes. */
  whenAwake(run: () => void): void {
    if (this.isAsleep)
      this.timeline.after(this.sleepsUntil - this.timeline.now, () => this.whenAwake(run))
    else run()
  }

  private get isAsleep(): boolean {
    return this.timeline.now < this.sleepsUntil
  }

  private later(
    run: (...args: unknown[]) => void,
    delay: number | undefined,
    args: unknown[],
    repeats: boolean,
  ): number {
    const timer = ++this.lastTimer
    const wait = Math.max(1, Math.round(Number(delay) || 0))
    const plan = (delay = wait) => {
      const cancel = this.timeline.after(delay, () => {
        if (this.isAsleep) return plan(this.sleepsUntil - this.timeline.now)
        if (repeats) plan()
        else this.timers.delete(timer)
        try {
          run(...args)
        } catch (error) {
          // A browser reports it and continues.
          this.timeline.tell('process', `nobody catches ${error}`)
        }
      })
      this.timers.set(timer, cancel)
    }
    if (this.isAlive) plan()
    return timer
  }

  private clear(timer: number | undefined): void {
    if (timer === undefined) return
    this.timers.get(timer)?.()
    this.timers.delete(timer)
  }

  private listenersOf(event: string): Set<() => void> {
    const listeners = this.listeners.get(event) ?? new Set()
    this.listeners.set(event, listeners)
    return listeners
  }
}

function dateOf(clock: () => number): DateConstructor {
  return class extends Date {
    constructor(...args: unknown[]) {
      if (args.length === 0) super(clock())
      else super(...(args as [number]))
    }

    static override now(): number {
      return clock()
    }
  } as DateConstructor
}

function cryptoOf(chance: Chance): Globals['crypto'] {
  return {
    getRandomValues(bytes) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = chance.between(0, 255)
      return bytes
    },
    randomUUID: () => chance.uuid(),
  }
}
