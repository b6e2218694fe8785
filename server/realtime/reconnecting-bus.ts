import { randomUUID } from 'node:crypto'
import type { Log } from '../runtime/log.ts'
import { withinTime } from '../runtime/time-limit.ts'
import type { Bus, OpenBus } from './bus.ts'

const CHANNEL = 'tasktide'
/** Here each connection says that it is there, by its id: so it also hears whether it hears anything. */
const BEATS = 'tasktide_beats'
const BEAT_MS = 3_000
/** After so long without another connection's beat, there is none, and nothing is sent. */
const ALONE_MS = 4 * BEAT_MS
/** A connection has to listen within this time. */
const ATTEMPT_MS = 5_000
const RETRY_MS = 50
const MAX_RETRY_MS = 30_000

/** A connection over which messages are sent and received. It is used once: after its end, another one is created. */
export interface BusConnection {
  /** After its rejection, or when it takes too long, `drop` is called. */
  open(): Promise<unknown>
  listen(channel: string): Promise<unknown>
  publish(channel: string, messages: readonly string[]): Promise<unknown>
  close(): Promise<unknown>
  /** Ends at once. What it waits for rejects. */
  drop(error?: Error): void
}

export interface ConnectionEvents {
  message(channel: string, text: string): void
  /** It does not work any more, for this reason, if known. */
  ended(error?: Error): void
}

/** A bus over connections that break: it opens the next one, and reports the gap. */
export function reconnectingBus(
  createConnection: (events: ConnectionEvents) => BusConnection,
  log: Log,
): OpenBus {
  return async (receiver): Promise<Bus> => {
    let isClosed = false
    let connection: BusConnection | undefined
    let isAlone = () => false
    let retry: NodeJS.Timeout | undefined
    /** One publication at a time: pg deprecates concurrent queries on a client. */
    let sending = Promise.resolve()
    await connect()

    return {
      send(messages) {
        sending = sending.then(() => publish(messages))
        return sending
      },
      isConnected: () => connection !== undefined,
      async close() {
        isClosed = true
        clearTimeout(retry)
        await sending
        await connection?.close()
      },
    }

    async function publish(messages: readonly string[]): Promise<void> {
      if (!connection) return receiver.lost(messages.length)
      if (isAlone()) return
      try {
        await connection.publish(CHANNEL, messages)
      } catch (error) {
        receiver.lost(messages.length)
        log.warn({ error }, 'hints were lost')
      }
    }

    /** @param waited since the last attempt */
    async function connect(waited = 0): Promise<void> {
      try {
        await establish()
      } catch (error) {
        if (isClosed) return
        log.warn({ error }, 'the connection for hints cannot be opened; it is tried again')
        // Jitter keeps the nodes from reconnecting at the same time.
        const longest = Math.min(MAX_RETRY_MS, Math.max(RETRY_MS, waited) * 2)
        connectAfter(longest * (0.5 + Math.random() / 2))
        return
      }
      if (isClosed) await connection?.close()
      else if (waited > 0) {
        log.info('the connection for hints works again')
        receiver.gap()
      }
    }

    function connectAfter(milliseconds: number) {
      retry = setTimeout(connect, milliseconds, milliseconds).unref()
    }

    /**
     * A connection that hears itself, as long as it has not ended. One that has lost what it listened for,
     * behind a pooler, for example, answers as before.
     */
    async function establish(): Promise<void> {
      const own = randomUUID()
      let isHeard = true
      let othersAt = performance.now()
      let hasEnded = false
      const next = createConnection({
        message(channel, text) {
          if (channel !== BEATS) {
            if (!isClosed) receiver.message(text)
          } else if (text === own) isHeard = true
          else othersAt = performance.now()
        },
        ended(error) {
          hasEnded = true
          clearInterval(beat)
          // The caller retries a failed attempt.
          if (connection !== next) return
          connection = undefined
          if (isClosed) return
          log.warn({ error }, 'the connection for hints was lost')
          connectAfter(RETRY_MS)
        },
      })
      const beat = setInterval(() => {
        // What has arrived while this process was busy is read before the next but one turn.
        setImmediate(() => setImmediate(tellItself))
      }, BEAT_MS).unref()
      try {
        await withinTime(ATTEMPT_MS, open())
        if (hasEnded) throw new Error('the connection ended at once')
        connection = next
        isAlone = () => isHeard && performance.now() - othersAt > ALONE_MS
      } catch (error) {
        clearInterval(beat)
        next.drop()
        throw error
      }

      async function open() {
        await next.open()
        await next.listen(BEATS)
        await next.listen(CHANNEL)
        await next.publish(BEATS, [own])
      }

      function tellItself() {
        if (connection !== next) return
        if (!isHeard) return next.drop(new Error('notifications do not arrive'))
        isHeard = false
        sending = sending.then(async () => {
          await next.publish(BEATS, [own]).catch(() => {}) // it ends then
        })
      }
    }
  }
}
