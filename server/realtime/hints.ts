import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { ConnectionTarget } from '../database/connect.ts'
import { clientOptions } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'

const CHANNEL = 'tasktide'
const GATHER_MS = 10
const RETRY_MS = 50
const MAX_RETRY_MS = 30_000

/** What nodes tell each other. Anything may come late, twice, or not at all. */
export interface Listener {
  /** This user has changes, the first of them committed then, if that is known. */
  changed(user: string, committed?: number): void
  /** This session has ended. */
  ended(session: string): void
  /** Some of the above may have been missed. */
  gap(): void
}

export interface Hints {
  changed(user: string): void
  ended(session: string): void
  listen(listener: Listener): void
  close(): Promise<void>
}

/**
 * Hints to this node at once, and to the others over NOTIFY, gathered, on a connection of its own:
 * inside the transaction that wrote, a NOTIFY would make every commit of the cluster wait its turn.
 * Nothing depends on their arrival: each node also looks for itself every few seconds.
 */
export async function openHints(target: ConnectionTarget, log: Log): Promise<Hints> {
  const node = randomUUID().slice(0, 8)
  const listeners = new Set<Listener>()
  /** Messages, each with when the first of its kind came up. */
  const waiting = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let client: pg.Client | undefined = await connect()

  return {
    changed(user) {
      for (const listener of listeners) listener.changed(user, Date.now())
      tellOthers(`u${user}`)
    },
    ended(session) {
      for (const listener of listeners) listener.ended(session)
      tellOthers(`s${session}`)
    },
    listen: (listener) => void listeners.add(listener),
    async close() {
      closed = true
      clearTimeout(timer)
      await flush()
      await client?.end()
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
    if (messages.length === 0) return
    await client
      ?.query('select pg_notify($1, message) from unnest($2::text[]) message', [CHANNEL, messages])
      .catch((error) => log.warn({ error }, 'hints were lost'))
  }

  async function connect(): Promise<pg.Client> {
    const next = new pg.Client(clientOptions(target))
    next.on('notification', ({ payload = '' }) => hear(payload))
    next.on('error', (error) => log.warn({ error }, 'the connection for hints was lost'))
    try {
      await next.connect()
      await next.query(`listen ${CHANNEL}`)
    } catch (error) {
      await next.end()
      throw error
    }
    // Only of a connection that was there: after a failed attempt, whoever made it tries again.
    next.once('end', () => {
      client = undefined
      if (!closed) setTimeout(reconnect, RETRY_MS, RETRY_MS).unref()
    })
    return next
  }

  async function reconnect(waited: number) {
    if (closed) return
    try {
      const next = await connect()
      if (closed) return await next.end()
      client = next
      for (const listener of listeners) listener.gap()
    } catch {
      // Spread, so that the nodes do not come back together.
      const wait = Math.min(MAX_RETRY_MS, waited * 2) * (0.5 + Math.random() / 2)
      setTimeout(reconnect, wait, wait).unref()
    }
  }

  function hear(payload: string) {
    const [from, message = '', at] = payload.split(' ', 3)
    if (from === node) return
    const subject = message.slice(1)
    for (const listener of listeners)
      if (message.startsWith('u')) listener.changed(subject, Number(at) || undefined)
      else listener.ended(subject)
  }
}
