import type { Frame } from '../../../protocol/index.ts'
import type { Caller, Connection, Network } from '../network.ts'
import type { Timeline } from '../timeline.ts'
import type { Accounts } from './accounts.ts'

type Listener = (value?: unknown) => void

export interface SocketOptions {
  auth: (give: (handshake: { token: string }) => void) => void
}

export type OpenSocket = (options: SocketOptions) => Socket

export interface SocketDependencies {
  timeline: Timeline
  network: Network
  accounts: Accounts
  device: { readonly name: string; readonly online: boolean }
  isAlive: () => boolean
  /** Calls `run` at once, or when a suspended tab resumes. */
  whenAwake: (run: () => void) => void
  received: (user: string, frame: Frame) => void
}

/** The part of Socket.IO's client that the SDK uses, over the simulated network. */
export class Socket {
  connected = false
  private readonly listeners = new Map<string, Listener>()
  private readonly options: SocketOptions
  private readonly dependencies: SocketDependencies
  private connection: Connection | undefined
  /** Incremented with each attempt, to ignore events of earlier ones. */
  private attempt = 0
  private user = ''

  constructor(options: SocketOptions, dependencies: SocketDependencies) {
    this.options = options
    this.dependencies = dependencies
  }

  on(event: string, listener: Listener): this {
    this.listeners.set(event, listener)
    return this
  }

  connect(): this {
    const attempt = ++this.attempt
    const { timeline } = this.dependencies
    this.options.auth(({ token }) => {
      if (attempt !== this.attempt) return
      timeline.after(timeline.chance.between(1, 60), () => this.greet(attempt, token))
    })
    return this
  }

  disconnect(): this {
    const wasConnected = this.connected
    this.end()
    if (wasConnected) this.tell('disconnect', 'io client disconnect')
    return this
  }

  emit(event: string, token: string, answer: (result: { ok: boolean }) => void): void {
    const { accounts, timeline } = this.dependencies
    if (event !== 'renew') throw new Error(`the simulation knows no ${event}`)
    timeline.after(20, () => answer({ ok: accounts.read(token)?.user === this.user }))
  }

  /** Breaks the connection, as by the device or the network. */
  break(): void {
    const wasConnected = this.connected
    this.end()
    if (wasConnected) this.tell('disconnect', 'transport close')
    else this.tell('connect_error', new Error('websocket error'))
  }

  private greet(attempt: number, token: string): void {
    const { accounts, network, device, isAlive, whenAwake, received } = this.dependencies
    if (attempt !== this.attempt || !isAlive()) return
    if (!device.online || network.refusesSockets()) {
      this.break()
      return
    }
    const reading = accounts.read(token)
    if (!reading) {
      this.end()
      const error = Object.assign(new Error('refused'), { data: { code: 'token_not_valid' } })
      this.tell('connect_error', error)
      return
    }
    this.user = reading.user
    const caller: Caller = {
      name: device.name,
      user: reading.user,
      get online() {
        return device.online && isAlive()
      },
    }
    const whenCurrent = (run: () => void) =>
      whenAwake(() => {
        if (attempt === this.attempt && isAlive()) run()
      })
    this.connection = network.connect(caller, {
      ready: (head) =>
        whenCurrent(() => {
          this.greeted()
          this.tell('ready', head)
        }),
      frame: (frame) =>
        whenCurrent(() => {
          this.greeted()
          received(this.user, frame)
          this.tell('changes', JSON.parse(JSON.stringify(frame)))
        }),
      cut: () => whenCurrent(() => this.break()),
    })
  }

  /** Called with the first message, whichever it is, because the network may reorder them. */
  private greeted(): void {
    if (this.connected) return
    this.connected = true
    this.tell('connect')
  }

  private end(): void {
    this.attempt++
    this.connected = false
    this.connection?.close()
    this.connection = undefined
  }

  private tell(event: string, value?: unknown): void {
    if (this.dependencies.isAlive()) this.listeners.get(event)?.(value)
  }
}
