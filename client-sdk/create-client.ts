import { type Client, type ClientOptions, openClient } from './client.ts'
import type { ResourceName } from './local/documents.ts'
import { resources } from './local/resources.ts'
import type { Storage } from './local/storage.ts'
import { ClientError } from './runtime/client-error.ts'
import { randomBytes } from './runtime/uuid.ts'

/** A client of this process, open or opening or closing. */
interface OpenClient {
  readonly medium: unknown
  readonly name: string
  readonly url: string
  readonly resources: readonly ResourceName[]
  readonly opening: Promise<Client>
  /** How many have called `createClient` and not `close`. */
  users: number
  closing?: Promise<void>
}

const openClients = new Set<OpenClient>()

/**
 * Opens the local data. Needs no network: a signed-in user stays signed in. If a client of the same name is open on
 * the same storage, this is another handle of it, with the options of the first call; the data is closed
 * with the last handle. If it is closing, this waits for it.
 *
 * @throws ClientError `invalid` if an option is not valid, or not that of the open client
 */
export async function createClient<N extends ResourceName = ResourceName>(
  given: ClientOptions<N>,
): Promise<Client<N>> {
  randomBytes(1) // fail now rather than at the first edit
  // In JavaScript, nothing may be given: then the url is what is missing.
  const options = given ?? ({} as ClientOptions<N>)
  const { storage, name = 'tasktide' } = options
  const url = readUrl(options.url)
  const names = readNames(options.resources) as N[]
  const medium = mediumOf(storage)
  const find = () => [...openClients].find((one) => one.medium === medium && one.name === name)
  let one = find()
  // Another call that waited may have opened it since.
  for (; one?.closing; one = find()) await one.closing.catch(() => {}) // the caller of close gets the error
  if (one) {
    refuseOther(one, url, names)
  } else {
    const opening = openClient({ ...options, url, name, resources: names })
    one = { medium, name, url, resources: names, opening: opening as Promise<never>, users: 0 }
    openClients.add(one)
  }
  one.users++
  try {
    return handleOf(await one.opening, names, one) as Client<N>
  } catch (error) {
    openClients.delete(one)
    throw error
  }
}

/** What one caller of `createClient` has, and can close without closing it for the others. */
function handleOf(client: Client, names: readonly ResourceName[], one: OpenClient): object {
  let closing: Promise<void> | undefined
  const { session, sync, account } = client
  const refusing = <T extends object>(part: T): T => {
    const members = Object.entries(part).map(([name, member]) => {
      if (typeof member !== 'function') return [name, member]
      const call = (...given: unknown[]) => (closing ? Promise.reject(closed()) : member(...given))
      return [name, call]
    })
    return Object.fromEntries(members)
  }
  const handle = {
    session: refusing(session),
    sync: { ...refusing(sync), wake: sync.wake },
    account: refusing(account),
    close() {
      closing ??= leave(client, one)
      return closing
    },
  }
  for (const name of names) {
    const get = () => {
      if (closing) throw closed()
      return client[name]
    }
    Object.defineProperty(handle, name, { get, enumerable: true })
  }
  return handle
}

async function leave(client: Client, one: OpenClient): Promise<void> {
  if (--one.users > 0) return
  one.closing = client.close().finally(() => openClients.delete(one))
  await one.closing
}

function closed(): ClientError {
  return new ClientError('closed', 'This client is closed. Create another one.')
}

function refuseOther(open: OpenClient, url: string, names: readonly ResourceName[]): void {
  const missing = names.filter((name) => !open.resources.includes(name))
  const remedy = 'Close that client first, or give this one another `name`.'
  if (url !== open.url)
    throw invalid(`url: a client named ${open.name} is open for ${open.url}. ${remedy}`)
  if (missing.length > 0)
    throw invalid(
      `resources: a client named ${open.name} is open without ${missing.join(', ')}. ${remedy}`,
    )
}

/** Equal for storages with the same data: those on a store of the app have its data, the others that of the device. */
function mediumOf(storage: (Storage & { medium?: object }) | undefined): unknown {
  if (storage?.createStorageInstance) return storage.medium ?? storage.name
  throw invalid(
    'storage: is missing. Use dexieStorage() in browsers, and getRxStorageMemory() in Node and in tests.',
  )
}

function readNames(names = Object.keys(resources) as readonly ResourceName[]): ResourceName[] {
  const unknown = names.find((name) => !(name in resources))
  if (names.length > 0 && unknown === undefined) return [...new Set(names)]
  const remedy = `Use one or more of ${Object.keys(resources).join(', ')}.`
  throw invalid(`resources: ${JSON.stringify(names)} is not valid. ${remedy}`)
}

/** The server is at the root of its host, so the URL has no path. */
function readUrl(given: string | undefined): string {
  if (!given)
    throw invalid('url: is missing. Use the URL of the server, such as https://tasks.example.com.')
  const url = String(given) // in JavaScript, it may be a `URL`
  const root = url.replace(/\/+$/, '')
  if (/^https?:\/\/[^/?#\s]+$/.test(root)) return root
  const fault = /^\w+:\/\//.test(url) ? 'is not valid' : 'has no scheme'
  throw invalid(
    `url: ${JSON.stringify(url)} ${fault}. Use a URL without a path, such as https://tasks.example.com.`,
  )
}

function invalid(message: string): ClientError {
  return new ClientError('invalid', message)
}
