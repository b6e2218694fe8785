/** The files of the app, and a name for all of them together. The build fills these in. */
declare const SHELL: readonly string[]
declare const VERSION: string

/** As much of a service worker's world as is used; TypeScript has it only instead of the page's. */
interface Worker {
  readonly location: Location
  addEventListener(event: 'install' | 'activate', listener: (event: LifeEvent) => void): void
  addEventListener(event: 'fetch', listener: (event: FetchEvent) => void): void
  skipWaiting(): Promise<void>
}

interface LifeEvent {
  waitUntil(work: Promise<unknown>): void
}

interface FetchEvent {
  readonly request: Request
  respondWith(answer: Promise<Response>): void
}

const worker = self as unknown as Worker
const CACHE = `tasktide ${VERSION}`
/** A network that is there in name only. */
const PATIENCE_MS = 3_000

worker.addEventListener('install', (event) => event.waitUntil(install()))
worker.addEventListener('activate', (event) => event.waitUntil(removeOthers()))
worker.addEventListener('fetch', (event) => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  // The API, replication and the live connection are none of its business.
  if (request.method !== 'GET' || origin !== worker.location.origin) return
  if (pathname === '/') event.respondWith(freshPage(request))
  else if (SHELL.includes(pathname)) event.respondWith(kept(pathname, request))
})

/**
 * A new version does not wait for the old one's tabs to close. That is safe: a page loads all of its
 * files at its start, so none of them is asked for later, of a cache that has gone.
 */
async function install(): Promise<void> {
  const cache = await caches.open(CACHE)
  // Hashed files may come out of the browser's own cache; the page itself must be of this version.
  const requests = SHELL.map((url) => new Request(url, url === '/' ? { cache: 'reload' } : {}))
  await cache.addAll(requests)
  await worker.skipWaiting()
}

async function removeOthers(): Promise<void> {
  const names = await caches.keys()
  const others = names.filter((name) => name.startsWith('tasktide ') && name !== CACHE)
  await Promise.all(others.map((name) => caches.delete(name)))
}

/** The page of the server, which names the newest files; without network the one that is kept. */
async function freshPage(request: Request): Promise<Response> {
  try {
    const response = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) })
    if (response.ok || response.status === 304) return response
    return await kept('/', request)
  } catch {
    return kept('/', request)
  }
}

/** What has a hash in its name never changes. */
async function kept(pathname: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE)
  return (await cache.match(pathname)) ?? fetch(request)
}
