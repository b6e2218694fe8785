import type { Log } from '../runtime/log.ts'
import type { OpenBus } from './bus.ts'
import { reconnectingBus } from './reconnecting-bus.ts'

const CONNECT_MS = 3_000

/**
 * A bus over PUBLISH and SUBSCRIBE. Both use one connection, which needs the protocol RESP3, and so Redis 6
 * or later.
 */
export function redisBus(url: string, log: Log): OpenBus {
  return async (receiver) => {
    // Nodes without Redis do not load it.
    const { createClient, ErrorReply } = await import('@redis/client')
    const open = reconnectingBus(({ message, ended }) => {
      let failure: Error | undefined
      const client = createClient({
        url,
        RESP: 3,
        // The bus reconnects. What it sends meanwhile is lost, and counted.
        disableOfflineQueue: true,
        socket: { connectTimeout: CONNECT_MS, reconnectStrategy: false },
        // Commands that a restricted user may lack.
        disableClientInfo: true,
        maintNotifications: 'disabled',
      })
      client.on('error', (error: Error) => {
        failure ??= error
      })
      client.once('terminated', (cause: Error) => ended(cause))
      client.once('end', () => ended(failure))
      return {
        open: () => client.connect().catch(withoutArguments),
        listen: (channel) => client.subscribe(channel, (text) => message(channel, text)),
        publish: (channel, messages) =>
          Promise.all(messages.map((text) => client.publish(channel, text))),
        close: async () => client.destroy(),
        drop(error) {
          failure = error
          client.destroy()
        },
      }
    }, log)
    return open(receiver)

    /** A server that does not know a command repeats its arguments: those of HELLO contain the password. */
    function withoutArguments(error: Error): never {
      if (!(error instanceof ErrorReply)) throw error
      throw new Error(`Redis answers ${error.message.split(' ', 1)[0]}`)
    }
  }
}
