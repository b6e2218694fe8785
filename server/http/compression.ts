import type { Transform } from 'node:stream'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import type { BytesInFlight, Held } from '../runtime/bytes-in-flight.ts'
import type { Answer, Call } from './operation.ts'
import { encoded } from './send.ts'

/** A smaller answer takes one or two packets as it is. */
const LEAST_BYTES = 2 * 1024
/**
 * People whose answers are compressed at a time. A whole answer occupies one of the four threads that Node has
 * for all such work, for milliseconds. A streamed one occupies memory for as long as its client reads.
 */
const MAX_WHOLE = 2
const MAX_STREAMED = 8
/** Needs fewer turns of the event loop than the 16 KB of Node. */
const CHUNK_BYTES = 64 * 1024

const BROTLI: zlib.BrotliOptions = {
  chunkSize: CHUNK_BYTES,
  params: {
    [zlib.constants.BROTLI_PARAM_QUALITY]: 1,
    [zlib.constants.BROTLI_PARAM_LGWIN]: 18,
  },
}
const GZIP: zlib.ZlibOptions = { chunkSize: CHUNK_BYTES, level: zlib.constants.Z_BEST_SPEED }
const brotli = promisify<Buffer, zlib.BrotliOptions, Buffer>(zlib.brotliCompress)
const gzip = promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gzip)

interface Compressor {
  /** What it occupies at most. */
  bytes: number
  whole: (body: Buffer) => Promise<Buffer>
  stream: () => Transform
}

/** The better one first: Brotli compresses more in half the time. */
const COMPRESSORS = {
  br: {
    bytes: 1024 * 1024,
    whole: (body) => brotli(body, BROTLI),
    stream: () => zlib.createBrotliCompress(BROTLI),
  },
  gzip: {
    bytes: 320 * 1024,
    whole: (body) => gzip(body, GZIP),
    stream: () => zlib.createGzip(GZIP),
  },
} as const satisfies Record<string, Compressor>

export type Encoding = keyof typeof COMPRESSORS
const ENCODINGS = Object.keys(COMPRESSORS) as Encoding[]

/**
 * Compresses answers, in threads, for clients that accept it. An answer stays as it is where that would cost
 * others something: when several are being compressed already, or when its person has too many bytes in flight.
 */
export function createCompression(bytes: Pick<BytesInFlight, 'tryTake'>) {
  const takeWhole = onePerPerson(MAX_WHOLE)
  const takeStreamed = onePerPerson(MAX_STREAMED)

  /** @param held what the request occupies */
  return async function compress(
    answer: Answer,
    { user, request }: Pick<Call, 'user' | 'request'>,
    held: Held,
  ): Promise<Answer> {
    const varying = { ...answer, headers: { ...answer.headers, Vary: 'Accept-Encoding' } }
    const encoding = encodingFor(request.headers['accept-encoding'])
    if (!encoding) return varying
    const headers = { ...varying.headers, 'Content-Encoding': encoding }
    if (answer.stream) {
      const compressor = streamFor(encoding, user, request)
      const stream: Answer['stream'] = (response) => answer.stream!(response, compressor)
      return compressor ? { ...answer, headers, stream } : varying
    }
    if (answer.body === undefined) return varying
    const body = encoded(answer.body)
    const compressed =
      body.length < LEAST_BYTES ? undefined : await whole(encoding, user, body, held)
    return compressed ? { ...answer, headers, body: compressed } : { ...varying, body }
  }

  async function whole(
    encoding: Encoding,
    user: string,
    body: Buffer,
    held: Held,
  ): Promise<Buffer | undefined> {
    const compressor = COMPRESSORS[encoding]
    const leave = takeWhole(user)
    if (!leave) return undefined
    try {
      return held.tryAdd(body.length + compressor.bytes) ? await compressor.whole(body) : undefined
    } finally {
      leave()
    }
  }

  function streamFor(
    encoding: Encoding,
    user: string,
    { res: response }: Call['request'],
  ): Transform | undefined {
    const compressor = COMPRESSORS[encoding]
    if (response!.destroyed) return undefined
    const leave = takeStreamed(user)
    const taken = leave && bytes.tryTake(user, compressor.bytes)
    if (!taken) {
      leave?.()
      return undefined
    }
    const stream = compressor.stream()
    // Three streams in a row listen more often than Node finds usual.
    response!.setMaxListeners(20)
    response!.once('close', () => {
      stream.destroy()
      taken.release()
      leave()
    })
    return stream
  }
}

export type Compress = ReturnType<typeof createCompression>

/**
 * The encoding to compress an answer with, by the header Accept-Encoding (RFC 9110, 12.5.3). `*` is gzip, which
 * every client has. An answer that is not compressed is sent even to clients that refuse it (`identity;q=0`).
 *
 * @returns undefined to leave it as it is
 */
export function encodingFor(accepted = ''): Encoding | undefined {
  const weights = new Map(accepted.toLowerCase().split(',').map(weighted))
  const weightOf = (encoding: Encoding) =>
    weights.get(encoding) ?? (encoding === 'gzip' ? (weights.get('*') ?? 0) : 0)
  const [best] = ENCODINGS.toSorted((one, other) => weightOf(other) - weightOf(one))
  const weight = weightOf(best!)
  return weight > 0 && weight >= (weights.get('identity') ?? 0) ? best : undefined
}

/** One of the encodings in the header. What is no weight counts as a refusal. */
function weighted(text: string): [name: string, weight: number] {
  const [name = '', parameter] = text.split(';')
  const weight =
    parameter === undefined ? '1' : /^\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*$/.exec(parameter)?.[1]
  return [name.trim(), Number(weight ?? 0)]
}

/** @returns takes the place of a person, and returns how to leave it; undefined if all are taken */
function onePerPerson(most: number) {
  const people = new Set<string>()
  return (person: string): (() => void) | undefined => {
    if (people.size >= most || people.has(person)) return undefined
    people.add(person)
    return () => void people.delete(person)
  }
}
