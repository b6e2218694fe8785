import type { Network } from '../network.ts'
import type { Timeline } from '../timeline.ts'
import type { Gateway, HttpAnswer, HttpRequest } from './gateway.ts'

export interface HttpDependencies {
  timeline: Timeline
  network: Network
  gateway: Gateway
  device: { readonly name: string; readonly online: boolean }
  isAlive: () => boolean
  /** Something on the way answers. */
  strangers: () => void
  /** The app has been given this answer of the server's. */
  received: (request: HttpRequest, answer: HttpAnswer) => void
}

const HTML = { 'content-type': 'text/html', date: 'Thu, 01 Jan 2015 00:00:00 GMT' }
const PAGE = '<html><body>Sign in to the network of the hotel</body></html>'

/** Answers of firewalls, portals and proxies, none of which say anything of the documents. */
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

/** `fetch` for one tab, over the network of the simulation. */
export function createFetch(dependencies: HttpDependencies): typeof globalThis.fetch {
  const { timeline, network, gateway, device, isAlive, received, strangers } = dependencies

  return (input, init = {}) =>
    new Promise<Response>((resolve, reject) => {
      if (!isAlive()) return
      const { signal } = init
      const abort = () => reject(new DOMException('aborted', 'AbortError'))
      if (signal?.aborted) return abort()
      signal?.addEventListener('abort', abort)
      const request = requestOf(String(input), init)
      void carry(request).then((answer) => {
        if (!isAlive() || signal?.aborted) return
        signal?.removeEventListener('abort', abort)
        if (!answer) return reject(new TypeError('fetch failed'))
        if (!STRANGERS.includes(answer)) received(request, answer)
        const { status, headers, body } = answer
        resolve(new Response(body, { status, headers }))
      })
    })

  function carry(request: HttpRequest): Promise<HttpAnswer | undefined> {
    const { chance } = timeline
    const caller = {
      name: device.name,
      user: '',
      get online() {
        return device.online && isAlive()
      },
    }
    const label = `${request.method} ${request.path} ${request.body?.slice(0, 2_000) ?? ''}`
    const isStranger = network.meetsStranger()
    const stranger = chance.one(STRANGERS)
    if (isStranger) strangers()
    if (isStranger)
      timeline.tell('stranger', `answers ${stranger.status} to ${caller.name}: ${label}`)
    // Most refuse the request; some let it through and refuse its answer.
    if (isStranger && chance.happens(0.8))
      return timeline.pause(chance.between(1, 300)).then(() => stranger)
    const answer = network.send(caller, label, (node) => gateway.answer(node, request))
    return isStranger ? answer.then(() => stranger) : answer
  }
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
