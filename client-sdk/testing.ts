import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { filter, firstValueFrom } from 'rxjs'
import type { Client, ClientOptions } from './client.ts'
import { createClient } from './create-client.ts'
import type { ResourceName } from './local/documents.ts'
import { uuidv7 } from './runtime/uuid.ts'

/**
 * A client for tests of an app: in memory, without a server, with a user who is signed in. Each call gives an empty one. Edits
 * are stored as everywhere, and unsent; requests are `unreachable`. Close it after the test.
 *
 * @param options others of `createClient`; with a `fetch`, sign-ins are answered by it as well
 */
export async function createTestClient<N extends ResourceName = ResourceName>(
  options: Partial<ClientOptions<N>> = {},
): Promise<Client<N>> {
  const client = await createClient<N>({
    url: 'http://tasktide.test',
    storage: getRxStorageMemory(),
    name: uuidv7(),
    multiInstance: false,
    fetch: answerSignIns,
    ...options,
  })
  await client.session.signIn({ username: 'ann', password: 'a ferry to Lisbon' })
  await client.sync.pause()
  await firstValueFrom(client.sync.status$.pipe(filter((status) => status === 'offline')))
  return client
}

const SECONDS = 3600

/** Signs in everybody. Nobody checks the signature of these tokens. */
const answerSignIns: typeof fetch = async (url) => {
  if (!String(url).endsWith('/api/token/')) throw new TypeError('There is no server in this test.')
  const iat = Math.floor(Date.now() / 1000)
  const claims = { sub: uuidv7(), sid: uuidv7(), iat, exp: iat + SECONDS }
  const token = `header.${btoa(JSON.stringify(claims))}.signature`
  const headers = { 'content-type': 'application/json' }
  const body = { access: token, refresh: token, username: 'ann' }
  return new Response(JSON.stringify(body), { headers })
}
