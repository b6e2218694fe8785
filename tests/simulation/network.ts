import type { Frame, Ready } from '../../protocol/index.ts'
import type { Node, Reply, Request } from './node.ts'
import type { Timeline } from './timeline.ts'

const TIMEOUT_MS = 2_500

/** A client of the network. */
export interface Caller {
  readonly name: string
  readonly user: string
  readonly online: boolean
}

export interface Connection {
  close(): void
}

export interface FrameListener {
  ready(head: Ready): void
  frame(frame: Frame): void
  /** The connection was lost, not closed by `close`. */
  cut(): void
}

/**
 * The network between clients and nodes, and between nodes. While it is bad, it loses, delays, duplicates and
 * reorders messages. A delayed request may arrive long after its sender has retried it.
 */
export class Network {
  bad = true
  hasStrangers = false
  /** Requests that contain this are blocked by a firewall. */
  disliked: RegExp | undefined
  private readonly timeline: Timeline
  private readonly nodes: readonly Node[]

  constructor(timeline: Timeline, nodes: readonly Node[]) {
    this.timeline = timeline
    this.nodes = nodes
  }

  /** @returns undefined after a time-out */
  ask(caller: Caller, request: Request): Promise<Reply | undefined> {
    const { timeline } = this
    const node = timeline.chance.one(this.nodes)
    return new Promise((resolve) => {
      timeline.after(TIMEOUT_MS, () => resolve(undefined))
      if (!caller.online) return
      for (const delay of this.delays()) {
        timeline.after(delay, () => {
          timeline.tell(node.name, `hears ${caller.name}: ${summary(request)}`)
          void node.answer(caller.user, request).then((reply) => {
            if (reply === undefined) return
            for (const back of this.delays()) {
              timeline.after(back, () => {
                if (caller.online) resolve(reply)
              })
            }
          })
        })
      }
    })
  }

  /**
   * An HTTP request without a time-out.
   *
   * @returns undefined when the connection breaks; never resolves for a request that hangs
   */
  send<T>(caller: Caller, label: string, serve: (node: Node) => Promise<T | undefined>) {
    const { timeline } = this
    const { chance } = timeline
    const node = chance.one(this.nodes)
    return new Promise<T | undefined>((resolve) => {
      const breaks = (within: number) =>
        timeline.after(chance.between(1, within), () => resolve(undefined))
      const lost = () => {
        if (!chance.happens(0.03)) breaks(2_000)
      }
      if (!caller.online) return void breaks(30)
      const copies = this.delays()
      if (copies.length === 0) return lost()
      for (const delay of copies) {
        timeline.after(delay, async () => {
          timeline.tell(node.name, `hears ${caller.name}: ${label}`)
          const answer = await serve(node)
          if (answer === undefined) return void breaks(50)
          const [back] = this.delays()
          if (back === undefined) return lost()
          timeline.after(back, () => resolve(caller.online ? answer : undefined))
        })
      }
    })
  }

  /** Whether a proxy blocks a WebSocket this time. */
  refusesSockets(): boolean {
    return this.bad && this.timeline.chance.happens(0.3)
  }

  /** Whether a proxy answers this time instead of the server. */
  meetsStranger(): boolean {
    return this.bad && this.hasStrangers && this.timeline.chance.happens(0.06)
  }

  dislikes(body: string | undefined): boolean {
    return this.bad && body !== undefined && this.disliked?.test(body) === true
  }

  /** A hint from one node to the others. */
  hint(from: Node, user: string): void {
    for (const node of this.nodes)
      if (node !== from)
        for (const delay of this.delays()) this.timeline.after(delay, () => node.hears(user))
  }

  connect(caller: Caller, listener: FrameListener): Connection {
    const { timeline } = this
    const node = timeline.chance.one(this.nodes)
    let open = true
    let leave = () => {}
    const cut = () => {
      if (!open) return
      open = false
      leave()
      timeline.after(timeline.chance.between(1, 400), listener.cut)
    }
    const carry = (deliver: () => void) => {
      const delays = this.delays()
      // After a lost message the stream breaks soon.
      if (delays.length === 0) timeline.after(timeline.chance.between(100, 6_000), cut)
      for (const delay of delays) timeline.after(delay, () => open && caller.online && deliver())
    }
    timeline.after(timeline.chance.between(1, 100), async () => {
      const joined = caller.online
        ? await node.connect(caller.user, (frame) => carry(() => listener.frame(frame)), cut)
        : undefined
      if (!joined) return cut()
      leave = joined.leave
      if (!open) return leave()
      timeline.tell(node.name, `is followed by ${caller.name} from ${joined.head.seq}`)
      carry(() => listener.ready(joined.head))
    })
    return {
      close() {
        open = false
        leave()
      },
    }
  }

  /** The delays of the copies of a message; none if it is lost. */
  private delays(): number[] {
    const { chance } = this.timeline
    if (!this.bad) return [chance.between(1, 20)]
    const copies = chance.weighted({ lost: 12, one: 76, two: 12 })
    const count = { lost: 0, one: 1, two: 2 }[copies]
    return Array.from({ length: count }, () =>
      chance.happens(0.1) ? chance.between(500, 12_000) : chance.between(1, 300),
    )
  }
}

export function summary(request: Request): string {
  switch (request.kind) {
    case 'pull':
      return `pull ${request.resource} after ${request.from.lwt}`
    case 'push':
      return `push ${request.resource} ${request.rows.map(({ newDocumentState: { id, ...rest } }) => `${id.slice(0, 4)} ${JSON.stringify(rest)}`).join(' | ')}`
    case 'digest':
      return `compare ${request.resource} at ${request.from.lwt}`
    case 'list':
      return `list ${request.resource}`
    case 'put_back':
      return `restore values of ${request.id.slice(0, 4)}`
    case 'create':
      return `create ${request.resource} ${JSON.stringify(request.input)}`
    default:
      return `${request.kind} ${request.resource} ${request.id.slice(0, 4)} ${JSON.stringify(request.fields)} at ${request.seq}`
  }
}
