import type { Network } from '../network.ts'
import type { Timeline } from '../timeline.ts'
import type { Gateway, HttpAnswer, HttpRequest } from './gateway.ts'

export interface HttpDependencies {
  timeline: Timeline
  network: Network
  gateway: Gateway
  device: { readonly name: string; readonly online: boolean; readonly line: Line | undefined }
  isAlive: () => boolean
  /** Calls `run` at once, or when a suspended tab resumes. */
  whenAwake: (run: () => void) => void
  /** A proxy answered. */
  strangers: () => void
  /** A firewall blocked a request for its text. */
  disliked: () => void
  /** The app received this answer of the server. */
  received: (request: HttpRequest, answer: HttpAnswer) => void
}

/** A slow connection to the server. */
export interface Line {
  readonly bytesPerSecond: number
}

const CHUNK_BYTES = 512
const HTML = { 'content-type': 'text/html', date: 'Thu, 01 Jan 2015 00:00:00 GMT' }
const PAGE = '<html><body>Sign in to the network of the hotel</body></html>'

/** Answers of firewalls, captive portals and proxies. They mean nothing for the documents. */
const STRANGERS: readonly HttpAnswer[] = [
  { status: 200, headers: HTML, body: PAGE },
  { status: 400, headers: HTML, body: PAGE },
  { status: 401, headers: HTML, body: PAGE },
  { status: 403, headers: HTML, body: PAGE },
  { status: 406, headers: HTML, body: PAGE },
  { status: 413, headers: HTML, body: PAGE },
  { status: 502, headers: HTML, body: PAGE },
  { status: 400, headers: { ...HTML, 'content-type': 'application/json' }, body: '{"code":400}' },
  { status: 200, headers: { ...HTML, 'content-type': 'application/json' }, body: '{}' },
  { status: 200, headers: {}, body: '' },
]

/** Answers of a firewall that inspects requests. */
const FIREWALL = STRANGERS[4]!

/** `fetch` for one tab over the simulated network. */
export function createFetch(dependencies: HttpDependencies): typeof globalThis.fetch {
  const { timeline, network, gateway, device, isAlive, whenAwake, received } = dependencies
  const { strangers, disliked } = dependencies

  return (input, init = {}) =>
    new Promise<Response>((resolve, reject) => {
      if (!isAlive()) return
      const { signal } = init
      const abort = () => reject(new DOMException('aborted', 'AbortError'))
      if (signal?.aborted) return abort()
      signal?.addEventListener('abort', abort)
      const request = requestOf(String(input), init)
      void carry(request).then(async (answer) => {
        await new Promise<void>(whenAwake)
        if (!isAlive() || signal?.aborted) return
        if (!answer) return reject(new TypeError('fetch failed'))
        const arrived = () => {
          signal?.removeEventListener('abort', abort)
          if (!STRANGERS.includes(answer)) received(request, answer)
        }
        const { status, headers, body } = answer
        const arriving = body && device.line ? chunks(body, device.line, arrived, signal) : body
        if (arriving === body) arrived()
        resolve(new Response(arriving, { status, headers }))
      })
    })

  /** A body that arrives in parts. */
  function chunks(
    body: string,
    line: Line,
    arrived: () => void,
    signal: AbortSignal | null | undefined,
  ): ReadableStream<Uint8Array> {
    const bytes = new TextEncoder().encode(body)
    let sent = 0
    return new ReadableStream({
      async pull(controller) {
        const chunk = bytes.subarray(sent, sent + CHUNK_BYTES)
        await timeline.pause(timeOf(chunk.length, line))
        await new Promise<void>(whenAwake)
        if (!isAlive()) return new Promise(() => {})
        if (signal?.aborted) return controller.error(new DOMException('aborted', 'AbortError'))
        if (!device.online) return controller.error(new TypeError('terminated'))
        sent += chunk.length
        if (sent === bytes.length) arrived()
        controller.enqueue(chunk)
        if (sent === bytes.length) controller.close()
      },
    })
  }

  async function carry(request: HttpRequest): Promise<HttpAnswer | undefined> {
    const { chance } = timeline
    const caller = {
      name: device.name,
      user: '',
      get online() {
        return device.online && isAlive()
      },
    }
    const label = `${request.method} ${request.path} ${request.body?.slice(0, 2_000) ?? ''}`
    if (device.line) await timeline.pause(timeOf(request.body?.length ?? 0, device.line))
    const isDisliked = network.dislikes(request.body)
    const isStranger = isDisliked || network.meetsStranger()
    const stranger = isDisliked ? FIREWALL : chance.one(STRANGERS)
    if (isDisliked) disliked()
    else if (isStranger) strangers()
    if (isStranger)
      timeline.tell('stranger', `answers ${stranger.status} to ${caller.name}: ${label}`)
    // Most block the request; some let it through and block its answer.
    if (isDisliked || (isStranger && chance.happens(0.8)))
      return timeline.pause(chance.between(1, 300)).then(() => stranger)
    const answer = network.send(caller, label, (node) => gateway.answer(node, request))
    return isStranger ? answer.then(() => stranger) : answer
  }
}

/** In milliseconds. */
function timeOf(bytes: number, { bytesPerSecond }: Line): number {
  return Math.ceil((bytes / bytesPerSecond) * 1_000)
}

function requestOf(url: string, { method = 'GET', headers, body }: RequestInit): HttpRequest {
  const { pathname, search } = new URL(url)
  return {
    method,
    path: pathname + search,
    headers: Object.fromEntries(new Headers(headers)),
    body: typeof body === 'string' ? body : undefined,
  }
}
