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
/** For all files of another release. */
const FILES_PATIENCE_MS = 10_000
/** The files of a build, as the page and the manifest name them. */
const HASHED = /\/[\w-]+-[0-9A-Z]{8}\.\w+/g

worker.addEventListener('install', (event) => event.waitUntil(install()))
worker.addEventListener('activate', (event) => event.waitUntil(removeOlder()))
worker.addEventListener('fetch', (event) => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  // The API, replication and the live connection are none of its business.
  if (request.method !== 'GET' || origin !== worker.location.origin) return
  if (pathname === '/') event.respondWith(freshPage(request))
  else if (SHELL.includes(pathname) || isHashed(pathname))
    event.respondWith(kept(pathname, request))
})

/**
 * Keeps all of one build, or fails, after which the browser tries again later. While two releases serve,
 * the page may come from one and this worker from the other.
 *
 * A new version does not wait for the old one's tabs to close. That is safe: a page loads all of its
 * files at its start, and those of the build before are still there.
 */
async function install(): Promise<void> {
  // Hashed files may come out of the browser's own cache; the others must be those of now.
  const answers = await Promise.all(
    SHELL.map((url) => fetch(url, isHashed(url) ? {} : { cache: 'reload' })),
  )
  // All of it before any of it is kept: the cache may be the one in use.
  for (const [index, answer] of answers.entries()) {
    const url = SHELL[index]!
    const isGood = isHashed(url) ? answer.ok : isOfThisBuild(await answer.clone().text())
    if (!isGood) throw new Error(`${url} is of another release.`)
  }
  const cache = await caches.open(CACHE)
  await Promise.all(answers.map((answer, index) => cache.put(SHELL[index]!, answer)))
  await worker.skipWaiting()
}

/** All but the build before, whose page may still be loading. */
async function removeOlder(): Promise<void> {
  const names = await caches.keys()
  const others = names.filter((name) => name.startsWith('tasktide ') && name !== CACHE)
  await Promise.all(others.slice(0, -1).map((name) => caches.delete(name)))
}

/**
 * The page of the server, which names the newest files; the one that is kept if the server does not
 * answer, or answers with another page, or does not have the files that its page names.
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

/** It names files of the app, and all of them are kept here. */
function isOfThisBuild(text: string): boolean {
  const files = filesNamedIn(text)
  return files.length > 0 && files.every((file) => SHELL.includes(file))
}

/** Fetches the files of a page of another build, and keeps them for it. */
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

/** What has a hash in its name never changes, and may be of this build, the one before or the next. */
async function kept(pathname: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE)
  const isOfAnother = !SHELL.includes(pathname)
  const found = (await cache.match(pathname)) ?? (isOfAnother && (await caches.match(pathname)))
  return found || fetch(request)
}
