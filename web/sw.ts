/** The files of the app and a version of all of them. Inserted by the build. */
declare const SHELL: readonly string[]
declare const VERSION: string

/** The used part of the service worker API. TypeScript cannot load its types beside those of the page. */
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
/** For a network that is connected but does not respond. */
const PATIENCE_MS = 3_000
/** For all files of another release. */
const FILES_PATIENCE_MS = 10_000
/** Hashed file names, as in the page and the manifest. */
const HASHED = /\/[\w-]+-[0-9A-Z]{8}\.\w+/g

worker.addEventListener('install', (event) => event.waitUntil(install()))
worker.addEventListener('activate', (event) => event.waitUntil(removeOlder()))
worker.addEventListener('fetch', (event) => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  // Not the API, replication and live connection.
  if (request.method !== 'GET' || origin !== worker.location.origin) return
  if (pathname === '/') event.respondWith(freshPage(request))
  else if (SHELL.includes(pathname) || isHashed(pathname))
    event.respondWith(kept(pathname, request))
})

/**
 * Caches all files of one build, or fails, and the browser retries later. During a rolling release, the
 * page may come from one release and this worker from the other.
 *
 * A new version does not wait for tabs of the old one to close. That is safe: a page loads all of its
 * files at start, and the files of the previous build are still cached.
 */
async function install(): Promise<void> {
  // Hashed files may come from the HTTP cache; the others must be fresh.
  const answers = await Promise.all(
    SHELL.map((url) => fetch(url, isHashed(url) ? {} : { cache: 'reload' })),
  )
  // Check all files before caching any: the cache may be in use.
  for (const [index, answer] of answers.entries()) {
    const url = SHELL[index]!
    const isGood = isHashed(url) ? answer.ok : isOfThisBuild(await answer.clone().text())
    if (!isGood) throw new Error(`${url} is of another release.`)
  }
  const cache = await caches.open(CACHE)
  await Promise.all(answers.map((answer, index) => cache.put(SHELL[index]!, answer)))
  await worker.skipWaiting()
}

/** Deletes caches of older builds, except the previous one, whose page may still be loading. */
async function removeOlder(): Promise<void> {
  const names = await caches.keys()
  const others = names.filter((name) => name.startsWith('tasktide ') && name !== CACHE)
  await Promise.all(others.slice(0, -1).map((name) => caches.delete(name)))
}

/**
 * The server's page, which refers to the newest files. Falls back to the cached page if the server does
 * not respond, or responds with another page, or does not have the files of its page.
 */
async function freshPage(request: Request): Promise<Response> {
  try {
    const response = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) })
    const text = await response.clone().text()
    if (isOfThisBuild(text) || (response.ok && (await isWhole(text)))) return response
    return await kept('/', request)
  } catch {
    return kept('/', request)
  }
}

/** Whether the page refers to files of the app, and all of them are in this build. */
function isOfThisBuild(text: string): boolean {
  const files = filesNamedIn(text)
  return files.length > 0 && files.every((file) => SHELL.includes(file))
}

/** Fetches and caches the files of a page of another build. @returns whether it has all of them */
async function isWhole(page: string): Promise<boolean> {
  const files = filesNamedIn(page)
  if (!files.some((file) => file.endsWith('.js'))) return false
  const cache = await caches.open(CACHE)
  const signal = AbortSignal.timeout(FILES_PATIENCE_MS)
  const answers = await Promise.all(
    files.map(async (file) => [file, await fetch(file, { signal })] as const),
  )
  if (answers.some(([, { ok }]) => !ok)) return false
  await Promise.all(answers.map(([file, answer]) => cache.put(file, answer)))
  return true
}

function filesNamedIn(text: string): string[] {
  return [...new Set(text.match(HASHED) ?? [])]
}

const isHashed = (pathname: string) => filesNamedIn(pathname)[0] === pathname

/** Hashed files never change; they may belong to this build, the previous or the next one. */
async function kept(pathname: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE)
  const isOfAnother = !SHELL.includes(pathname)
  const found = (await cache.match(pathname)) ?? (isOfAnother && (await caches.match(pathname)))
  return found || fetch(request)
}
