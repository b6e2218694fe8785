import type { Socket } from 'node:net'

/** A client sends a token every quarter of an hour and a pong every 25 seconds. */
const MAX_PACKETS = 100
/** Also counts what never becomes a packet, such as pings of the WebSocket protocol. */
const MAX_BYTES = 64 * 1024
const WINDOW_MS = 10_000

interface EngineSocket {
  readonly request: { readonly socket: Socket }
  on(event: 'packet', listener: () => void): unknown
  close(discard: boolean): unknown
}

/** Cuts a connection whose client sends more than clients do. */
export function limitPackets(conn: EngineSocket, cut: () => void): void {
  const connection = conn.request.socket
  let end = 0
  let packets = 0
  let bytes = 0
  conn.on('packet', () => count(1, 0))
  connection.on('data', (chunk) => count(0, chunk.length))

  function count(morePackets: number, moreBytes: number) {
    const moment = performance.now()
    if (moment >= end) {
      end = moment + WINDOW_MS
      packets = 0
      bytes = 0
    }
    packets += morePackets
    bytes += moreBytes
    if (connection.destroyed || (packets <= MAX_PACKETS && bytes <= MAX_BYTES)) return
    // Otherwise the rest of the chunk is still taken for packets.
    conn.close(true)
    connection.destroy()
    cut()
  }
}
