import type { ServerResponse } from 'node:http'
import type { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Answer } from './operation.ts'

/** Writes an answer in one go. Headers that were set on `res` before are kept. */
export function send(res: ServerResponse, { status, headers, body, stream }: Answer): void {
  res.statusCode = status
  for (const name in headers) {
    // Others may have said already what an answer varies with.
    if (name === 'Vary') res.appendHeader(name, headers[name]!)
    else res.setHeader(name, headers[name]!)
  }
  // A HEAD request has no body to write: one that is begun and not ended blocks the connection.
  if (stream && res.req.method !== 'HEAD') {
    res.flushHeaders()
    stream(res)
    return
  }
  if (body === undefined) {
    res.end()
    return
  }
  const bytes = encoded(body)
  if (!res.hasHeader('Content-Type')) res.setHeader('Content-Type', 'application/json')
  res.setHeader('Content-Length', bytes.length)
  res.end(bytes)
}

/** Streams a body as fast as its client reads. A generator is asked for a piece when the one before is taken. */
export function pour(
  pieces: Readable | AsyncGenerator<string | Buffer>,
  response: ServerResponse,
  compressor?: Transform,
): Promise<void> {
  return compressor ? pipeline(pieces, compressor, response) : pipeline(pieces, response)
}

export function encoded(body: NonNullable<Answer['body']>): Buffer {
  if (Buffer.isBuffer(body)) return body
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
}
