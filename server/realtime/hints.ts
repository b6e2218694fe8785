import { randomUUID } from 'node:crypto'
import { untraced } from '../runtime/tracing.ts'
import type { Changes } from '../sync/store.ts'
import type { OpenBus } from './bus.ts'

const GATHER_MS = 10

/** Receives hints on a node. A hint may arrive late, twice or never. */
export interface Listener {
  /** The user has changes, with the commit time of the first one and their content if known. */
  changed(user: string, committed?: number, changes?: Changes): void
  /** The session has ended. */
  ended(session: string): void
  /** Hints may have been missed. */
  gap(): void
}

interface HintsState {
  /** Whether this node hears the others. */
  isConnected: boolean
  /** How many hints of other nodes have arrived. */
  received: number
  /** How many could not be sent to the others. */
  unsent: number
}

export interface Hints {
  changed(user: string, changes?: Changes): void
  ended(session: string): void
  listen(listener: Listener): void
  state(): HintsState
  close(): Promise<void>
}

/**
 * Sends hints to this node at once, with the changes, and to other nodes over the bus, batched and with
 * the user only. Delivery is not required: each node also polls every few seconds.
 */
export async function openHints(
  openBus: OpenBus,
  now: () => Date,
  tracing = untraced,
): Promise<Hints> {
  const node = randomUUID().slice(0, 8)
  const listeners = new Set<Listener>()
  /** The time of the first occurrence of each message, and the span that it belongs to. */
  const waiting = new Map<string, { at: number; span: string | undefined }>()
  let timer: NodeJS.Timeout | undefined
  let received = 0
  let unsent = 0
  const bus = await openBus({
    message: hear,
    gap() {
      for (const listener of listeners) listener.gap()
    },
    lost(count) {
      unsent += count
    },
  })

  return {
    changed(user, changes) {
      tracing.span('hint', {}, () => {
        for (const listener of listeners) listener.changed(user, now().getTime(), changes)
        tellOthers(`u${user}`)
      })
    },
    ended(session) {
      for (const listener of listeners) listener.ended(session)
      tellOthers(`s${session}`)
    },
    listen: (listener) => void listeners.add(listener),
    state: () => ({ isConnected: bus.isConnected(), received, unsent }),
    async close() {
      clearTimeout(timer)
      await flush()
      await bus.close()
    },
  }

  function tellOthers(message: string) {
    if (!waiting.has(message)) waiting.set(message, { at: now().getTime(), span: tracing.here() })
    timer ??= setTimeout(flush, GATHER_MS)
  }

  async function flush() {
    timer = undefined
    // Nodes read the parts that they know, and ignore what follows.
    const messages = [...waiting].map(
      ([message, { at, span }]) => `${node} ${message} ${at}${span ? ` ${span}` : ''}`,
    )
    waiting.clear()
    if (messages.length > 0) await bus.send(messages)
  }

  function hear(text: string) {
    const [from, message = '', at, span] = text.split(' ', 4)
    if (from === node) return
    received++
    const subject = message.slice(1)
    tracing.continued(span, 'hint', {}, () => {
      for (const listener of listeners)
        if (message.startsWith('u')) listener.changed(subject, Number(at) || undefined)
        else listener.ended(subject)
    })
  }
}
