import { io, type Socket } from 'socket.io-client'
import type {
  ClientEvents,
  Frame,
  Ready,
  RenewalResult,
  ServerEvents,
} from '../../protocol/live.ts'
import { delayAfter } from '../runtime/back-off.ts'

interface Problem {
  code: string
  detail: string
}

interface LiveOptions {
  url: string
  /** @param refused a token that the server has rejected */
  token: (refused?: string) => Promise<string>
  connected: () => void
  ready: (head: Ready) => void
  frame: (frame: Frame) => void
  disconnected: () => void
  /** The server accepts no live connection for now. */
  refused: (problem: Problem) => void
}

/** The live connection. While it is open, it reconnects whenever it breaks. */
export class Live {
  private readonly socket: Socket<ServerEvents, ClientEvents>
  private isWanted = false
  private isOpening = false
  private failures = 0
  private sent = ''
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(options: LiveOptions) {
    this.socket = io(options.url, {
      transports: ['websocket'],
      forceNew: true,
      autoConnect: false,
      reconnection: false,
      auth: (give) => {
        options.token().then(
          (token) => {
            this.sent = token
            give({ token })
          },
          () => this.later(),
        )
      },
    })
    this.socket.on('connect', () => {
      this.failures = 0
      this.isOpening = false
      options.connected()
    })
    this.socket.on('ready', (head) => options.ready(head))
    this.socket.on('changes', (frame) => options.frame(frame))
    this.socket.on('connect_error', ({ data }: Error & { data?: Problem }) => {
      // Refreshes the token for the next attempt.
      if (data?.code === 'token_not_valid') options.token(this.sent).catch(() => {})
      if (data?.code === 'too_many_connections') options.refused(data)
      this.later()
    })
    this.socket.on('disconnect', () => {
      options.disconnected()
      this.later()
    })
  }

  get isConnected(): boolean {
    return this.socket.connected
  }

  open(): void {
    this.isWanted = true
    this.retry()
  }

  close(): void {
    this.isWanted = false
    this.isOpening = false
    clearTimeout(this.timer)
    this.socket.disconnect()
  }

  /** Replaces the token before it expires, so that the server does not close the connection. */
  renew(token: string): void {
    if (!this.isConnected || token === this.sent) return
    this.sent = token
    this.socket.emit('renew', token, (_result: RenewalResult) => {})
  }

  /** Connects at once, without interrupting an attempt in progress. */
  retry(): void {
    clearTimeout(this.timer)
    if (!this.isWanted || this.isOpening || this.isConnected) return
    this.isOpening = true
    this.socket.disconnect().connect()
  }

  private later(): void {
    this.isOpening = false
    if (!this.isWanted) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.retry(), delayAfter(++this.failures))
  }
}
