import { randomUUID } from 'node:crypto'
import type { Changes } from '../sync/store.ts'
import type { OpenBus } from './bus.ts'

const GATHER_MS = 10

/** What is told to whoever listens on a node. Anything may come late, twice, or not at all. */
export interface Listener {
  /** This user has changes: the first of them committed then, and these, if that is known. */
  changed(user: string, committed?: number, changes?: Changes): void
  /** This session has ended. */
  ended(session: string): void
  /** Some of the above may have been missed. */
  gap(): void
}

export interface Hints {
  changed(user: string, changes?: Changes): void
  ended(session: string): void
  listen(listener: Listener): void
  close(): Promise<void>
}

/**
 * Hints to this node at once, with what has changed, and to the others over the bus: gathered, and of
 * changes only whose they are. Nothing depends on their arrival: each node also looks for itself every
 * few seconds.
 */
export async function openHints(openBus: OpenBus): Promise<Hints> {
  const node = randomUUID().slice(0, 8)
  const listeners = new Set<Listener>()
  /** Messages, each with when the first of its kind came up. */
  const waiting = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined
  const bus = await openBus({
    message: hear,
    gap() {
      for (const listener of listeners) listener.gap()
    },
  })

  return {
    changed(user, changes) {
      for (const listener of listeners) listener.changed(user, Date.now(), changes)
      tellOthers(`u${user}`)
    },
    ended(session) {
      for (const listener of listeners) listener.ended(session)
      tellOthers(`s${session}`)
    },
    listen: (listener) => void listeners.add(listener),
    async close() {
      clearTimeout(timer)
      await flush()
      await bus.close()
    },
  }

  function tellOthers(message: string) {
    if (!waiting.has(message)) waiting.set(message, Date.now())
    timer ??= setTimeout(flush, GATHER_MS)
  }

  async function flush() {
    timer = undefined
    const messages = [...waiting].map(([message, at]) => `${node} ${message} ${at}`)
    waiting.clear()
    if (messages.length > 0) await bus.send(messages)
  }

  function hear(text: string) {
    const [from, message = '', at] = text.split(' ', 3)
    if (from === node) return
    const subject = message.slice(1)
    for (const listener of listeners)
      if (message.startsWith('u')) listener.changed(subject, Number(at) || undefined)
      else listener.ended(subject)
  }
}
