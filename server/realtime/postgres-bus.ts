import { type ConnectionTarget, clientOptions, WATCHED } from '../database/connect.ts'
import { DatabaseConnection } from '../database/connection.ts'
import type { Log } from '../runtime/log.ts'
import type { OpenBus } from './bus.ts'
import { type BusConnection, type ConnectionEvents, reconnectingBus } from './reconnecting-bus.ts'

/**
 * A bus over NOTIFY, on its own connection: a NOTIFY inside a writing transaction takes a cluster-wide
 * lock, which serializes all commits.
 */
export function postgresBus(target: ConnectionTarget, log: Log): OpenBus {
  return reconnectingBus((events) => connectionTo(target, events), log)
}

function connectionTo(
  target: ConnectionTarget,
  { message, ended }: ConnectionEvents,
): BusConnection {
  let failure: Error | undefined
  const client = new DatabaseConnection({ ...clientOptions(target), ...WATCHED })
  client.on('notification', ({ channel, payload = '' }) => message(channel, payload))
  client.on('error', (error) => {
    failure ??= error
  })
  client.once('end', () => ended(failure))
  return {
    open: () => client.connect(),
    listen: (channel) => client.query(`listen ${client.escapeIdentifier(channel)}`),
    publish: (channel, messages) =>
      client.query('select pg_notify($1, message) from unnest($2::text[]) message', [
        channel,
        messages,
      ]),
    close: () => client.end(),
    drop: (error) => client.drop(error),
  }
}
