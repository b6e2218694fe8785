import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import { type ConnectionTarget, clientOptions, WATCHED } from '../database/connect.ts'
import { DatabaseConnection } from '../database/connection.ts'
import type { Log } from '../runtime/log.ts'
import type { Bus, OpenBus } from './bus.ts'

const CHANNEL = 'tasktide'
/** How often a connection tells itself something. */
const BEAT_MS = 5_000
const RETRY_MS = 50
const MAX_RETRY_MS = 30_000

/**
 * A bus over NOTIFY, on its own connection: a NOTIFY inside a writing transaction takes a cluster-wide
 * lock, which serializes all commits.
 */
export function postgresBus(target: ConnectionTarget, log: Log): OpenBus {
  return async (receiver): Promise<Bus> => {
    let isClosed = false
    let client: pg.Client | undefined = await connect()
    /** One query at a time: pg deprecates concurrent queries on a client. */
    let sending = Promise.resolve()

    return {
      send(messages) {
        sending = sending.then(() => notify(messages))
        return sending
      },
      async close() {
        isClosed = true
        await sending
        await client?.end()
      },
    }

    async function notify(messages: readonly string[]): Promise<void> {
      await client
        ?.query('select pg_notify($1, message) from unnest($2::text[]) message', [
          CHANNEL,
          messages,
        ])
        .catch((error) => log.warn({ error }, 'hints were lost'))
    }

    async function connect(): Promise<pg.Client> {
      const next = new DatabaseConnection({ ...clientOptions(target), ...WATCHED })
      next.on('notification', ({ channel, payload = '' }) => {
        if (channel === CHANNEL) receiver.message(payload)
      })
      next.on('error', (error) => log.warn({ error }, 'the connection for hints was lost'))
      try {
        await next.connect()
        await proveListening(next)
        await next.query(`listen ${CHANNEL}`)
      } catch (error) {
        next.drop()
        throw error
      }
      // Only for an established connection: after a failed attempt, the caller retries.
      next.once('end', () => {
        client = undefined
        if (!isClosed) setTimeout(reconnect, RETRY_MS, RETRY_MS).unref()
      })
      return next
    }

    async function reconnect(waited: number) {
      if (isClosed) return
      try {
        const next = await connect()
        if (isClosed) return await next.end()
        client = next
        receiver.gap()
      } catch {
        // Jitter keeps the nodes from reconnecting at the same time.
        const wait = Math.min(MAX_RETRY_MS, waited * 2) * (0.5 + Math.random() / 2)
        setTimeout(reconnect, wait, wait).unref()
      }
    }
  }
}

/**
 * Drops a connection that does not hear itself. One that has lost what it listened for, behind a pooler,
 * for example, answers as before.
 */
async function proveListening(connection: DatabaseConnection): Promise<void> {
  const channel = `tasktide_${randomUUID()}`
  let isHeard = true
  await connection.query(`listen "${channel}"`)
  connection.on('notification', (notification) => {
    if (notification.channel === channel) isHeard = true
  })
  const beat = setInterval(() => {
    if (!isHeard) return connection.drop(new Error('notifications do not arrive'))
    isHeard = false
    connection.query('select pg_notify($1, $2)', [channel, '']).catch(() => {}) // it ends then
  }, BEAT_MS).unref()
  connection.once('end', () => clearInterval(beat))
}
