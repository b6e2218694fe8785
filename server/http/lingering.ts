import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const MAX_MS = 30_000
const MAX_BYTES = 32 * 1024 * 1024
const COUNT_MS = 50

/**
 * Lets a client that is still sending read an early refusal. Bytes that arrive at a closed connection are
 * answered by a reset, and many clients then report a broken connection instead of the answer (RFC 9112,
 * 9.6). So the rest of the request is read and discarded, up to these limits, before the connection closes.
 */
export function createLingering() {
  const latest = new WeakMap<Socket, IncomingMessage>()
  return {
    connection(socket: Socket): void {
      const close = socket.destroySoon.bind(socket)
      // Node calls this after the last response of a connection.
      socket.destroySoon = () => {
        if (latest.get(socket)?.complete ?? true) close()
        else socket.end()
      }
    },

    request(request: IncomingMessage, response: ServerResponse): void {
      const { socket } = request
      latest.set(socket, request)
      response.once('finish', () => {
        if (request.complete) return
        const stop = limitReading(socket)
        request.once('end', () => {
          stop()
          if (socket.writableEnded) socket.destroySoon()
        })
        request.resume()
      })
    },
  }
}

/** Destroys a connection once too much has been read from it. @returns a function that lifts the limits */
export function limitReading(socket: Socket): () => void {
  const enough = socket.bytesRead + MAX_BYTES
  // `data` events do not work: the data goes from the handle to Node's parser, bypassing the stream.
  const count = setInterval(() => {
    if (socket.bytesRead > enough) socket.destroy()
  }, COUNT_MS)
  const deadline = setTimeout(() => socket.destroy(), MAX_MS)
  socket.once('close', stop)
  return stop

  function stop() {
    clearInterval(count)
    clearTimeout(deadline)
    socket.off('close', stop)
  }
}
