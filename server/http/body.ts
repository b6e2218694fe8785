import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Request } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { Held } from '../runtime/bytes-in-flight.ts'
import { createJsonScan } from './json-scan.ts'
import { ProblemWithHeaders } from './problems.ts'

const TYPES = ['application/json', 'application/*+json']
const CHARSET = /;\s*charset=("?)([^";\s]*)\1\s*(?:;|$)/i
/** A name that many clients use for UTF-8, besides the registered one. */
const IS_UTF8 = /^utf-?8$/i
const BYTE_ORDER_MARK = '\ufeff'

/** A compressed body may be this much, however small it was; a larger one at most ten times what came. */
const MAX_RATIO = 10
const INFLATED_BYTES = 256 * 1024
/** What a decompressor occupies. */
const DECOMPRESSOR_BYTES = 64 * 1024
/** What a parsed value or the name of one occupies besides its text. */
const VALUE_BYTES = 32
/** A body may have one value for so many bytes of its limit: a push 100,000, where a thousand tasks have 40,000. */
const BYTES_PER_VALUE = 50
/** Without a byte for so long, a body has stalled. */
const STALL_MS = 2_000

interface ReadOptions {
  /** In bytes, uncompressed. */
  limit: number
  /** What arrives is added to it, and what is built from it. */
  held: Held
  /** Called when nothing arrives for two seconds. */
  stalled?: () => void
}

/** A JSON text, in UTF-8. */
export interface JsonText {
  bytes: Buffer
  /** If it is a list: where it is divided into its elements. */
  commas: readonly number[]
}

/**
 * The JSON text of a body, without what is nested too deeply: see `createJsonScan`.
 *
 * @throws Problem
 */
export async function readBody(req: Request, options: ReadOptions): Promise<JsonText> {
  requireJson(req, options.limit)
  return readText(req, decompressorOf(req), options)
}

export const decodeJson = ({ bytes }: JsonText): string => textOf(bytes, 0)

/** @throws Problem `malformed` */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw malformed()
  }
}

/**
 * The elements of a list of several, one after the other.
 *
 * @throws Problem `malformed`
 */
export function* parseElements({ bytes, commas }: JsonText): Generator<unknown> {
  yield only(parseJson(`${textOf(bytes, 0, commas[0])}]`))
  for (const [i, comma] of commas.entries()) {
    const next = commas[i + 1]
    const text = textOf(bytes, comma + 1, next)
    yield next === undefined ? only(parseJson(`[${text}`)) : parseJson(text)
  }
}

function textOf(bytes: Buffer, from: number, to?: number): string {
  const text = bytes.toString('utf8', from, to)
  return from === 0 && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text
}

/** The element of a list of one. */
function only(list: unknown): unknown {
  if (Array.isArray(list) && list.length === 1) return list[0]
  throw malformed()
}

const malformed = () => new Problem('malformed', 'The body is not valid JSON; correct its syntax.')

/** Checks what the headers say about the body. */
function requireJson(req: Request, limit: number): void {
  if (!hasBody(req)) throw missing()
  if (!req.is(TYPES))
    throw new Problem('unsupported_media_type', 'Send JSON, with Content-Type: application/json.')
  const charset = CHARSET.exec(req.headers['content-type'] ?? '')?.[2] ?? 'utf-8'
  if (!IS_UTF8.test(charset)) throw new Problem('unsupported_media_type', 'Send JSON in UTF-8.')
  if (Number(req.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
}

/** Undefined if the body is not compressed. */
function decompressorOf(req: IncomingMessage): (() => Transform) | undefined {
  const encoding = (req.headers['content-encoding'] ?? 'identity').toLowerCase()
  if (encoding === 'identity') return undefined
  if (Object.hasOwn(DECOMPRESSORS, encoding)) return DECOMPRESSORS[encoding]
  throw new Problem(
    'unsupported_media_type',
    'Send the body uncompressed, or with gzip, deflate or br.',
  )
}

const DECOMPRESSORS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
}

async function readText(
  req: IncomingMessage,
  createDecompressor: (() => Transform) | undefined,
  { limit, held, stalled = () => {} }: ReadOptions,
): Promise<JsonText> {
  const scan = createJsonScan(Math.floor(limit / BYTES_PER_VALUE))
  const parts: Buffer[] = []
  let [received, size, values] = [0, 0, 0]
  if (createDecompressor) held.add(DECOMPRESSOR_BYTES)

  await arrived(req, createDecompressor?.(), stalled, {
    received: (chunk) => {
      received += chunk.length
    },
    read: (chunk) => {
      size += chunk.length
      if (size > limit) throw tooLarge(limit)
      if (createDecompressor && size > INFLATED_BYTES + MAX_RATIO * received)
        throw inflatesTooMuch()
      parts.push(...scan.next(chunk))
      const more = scan.values() - values
      values += more
      held.add(chunk.length + more * VALUE_BYTES)
    },
  })
  if (size === 0) throw missing()
  const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  // Decoding would silently replace invalid bytes by U+FFFD.
  if (!isUtf8(bytes))
    throw new Problem('malformed', 'The body is not valid UTF-8; encode it as UTF-8.')
  return { bytes, commas: scan.commas() }
}

interface Readers {
  /** Called with each chunk as it was sent. */
  received: (chunk: Buffer) => void
  /** Called with each chunk, uncompressed. It may throw. */
  read: (chunk: Buffer) => void
}

/** Resolves at the end of the body, and rejects with whatever keeps it from that. */
function arrived(
  req: IncomingMessage,
  decompressor: Transform | undefined,
  stalled: () => void,
  { received, read }: Readers,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const stall = setTimeout(stalled, STALL_MS)
    const readOrFail = (chunk: Buffer) => {
      try {
        read(chunk)
      } catch (error) {
        end(() => reject(error))
      }
    }
    const interrupted = () => {
      // Its end comes before that of what is decompressed from it.
      if (req.readableEnded) return
      end(() => reject(new Problem('malformed', 'The request was interrupted; send it again.')))
    }
    const came = (chunk: Buffer) => {
      stall.refresh()
      received(chunk)
      if (!decompressor) readOrFail(chunk)
    }
    const all = () => end(resolve)
    // Whoever has left while waiting needs no answer.
    if (req.destroyed) return interrupted()
    req.on('data', came)
    req.once('error', interrupted)
    req.once('close', interrupted)
    if (!decompressor) {
      req.once('end', all)
      return
    }
    decompressor.on('data', readOrFail)
    decompressor.once('end', all)
    // It stays: a destroyed decompressor may still fail.
    decompressor.on('error', () =>
      end(() =>
        reject(
          new Problem('malformed', 'The body is not valid in its Content-Encoding; correct it.'),
        ),
      ),
    )
    req.pipe(decompressor)

    /** Whatever of the request is left is discarded by whoever closes its connection. */
    function end(settle: () => void) {
      clearTimeout(stall)
      req.off('data', came)
      req.off('error', interrupted)
      req.off('close', interrupted)
      req.off('end', all)
      if (decompressor) {
        req.unpipe(decompressor)
        decompressor.off('data', readOrFail)
        decompressor.destroy()
      }
      settle()
    }
  })
}

const hasBody = (req: Request) =>
  req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0

function missing(): Problem {
  return new Problem('invalid', 'The body is missing; send JSON.', {
    errors: { '': ['The body is missing.'] },
  })
}

function tooLarge(limit: number): Problem {
  return closing('too_large', `The body exceeds ${limit} bytes; send less.`)
}

function inflatesTooMuch(): Problem {
  return closing(
    'too_large',
    `The body is more than ${MAX_RATIO} times as large as it was sent; send less, or send it uncompressed.`,
  )
}

/** Does not wait for the rest of the body. */
function closing(code: 'too_large', detail: string): Problem {
  return new ProblemWithHeaders({ Connection: 'close' }, code, detail)
}
