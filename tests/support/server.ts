import { randomUUID } from 'node:crypto'
import type { Role } from '../../protocol/index.ts'
import { createPasswords } from '../../server/accounts/passwords.ts'
import { type Server, start } from '../../server/processes/web.ts'
import { readConfig } from '../../server/runtime/config.ts'
import { createLog } from '../../server/runtime/log.ts'
import { createDatabase, type TestDatabase } from './database.ts'

export const SECRET = 'a secret for tests: 0123456789 abcdefghij'

export interface TestServer extends Server {
  testDatabase: TestDatabase
  clock: Clock
  /** All log lines. */
  logged: string[]
  /** Registers a user and signs in. */
  person(name?: string): Promise<Person>
  /** The same with a role. */
  staff(role: Role): Promise<Person>
  call: Caller
}

export interface Person {
  username: string
  password: string
  access: string
  refresh: string
  id: string
  call: Caller
}

export interface Reply {
  status: number
  headers: Headers
  /** The parsed JSON body; undefined without one. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  body: any
  text: string
}

interface CallOptions {
  headers?: Record<string, string>
  /** A body that is sent unchanged. */
  raw?: string | Uint8Array<ArrayBuffer>
}

export interface Caller {
  (method: string, path: string, body?: unknown, options?: CallOptions): Promise<Reply>
  /** The URL of the server, if it calls one only. */
  readonly url?: string
}

export interface Clock {
  now(): Date
  /** Advances it by this many milliseconds. */
  advance(milliseconds: number): void
}

/** The whole server on its own database, with an adjustable clock and cheap password hashes. */
export async function startServer(environment: Record<string, string> = {}): Promise<TestServer> {
  const testDatabase = await createDatabase()
  const config = readConfig({
    NODE_ENV: 'test',
    DATABASE_URL: testDatabase.url,
    SECRET_KEY: SECRET,
    PORT: '0',
    HOST: '127.0.0.1',
    AUTH_RATE_LIMIT: '0',
    LOG_LEVEL: 'debug',
    RUN_WORKER: 'false',
    DRAIN_SECONDS: '0',
    ...environment,
  })
  const logged: string[] = []
  const clock = movableClock()
  const passwords = createPasswords({ cost: 4, lanes: 4, waitingPerLane: 100 })
  // The real log in its production format, so that tests see what operators see.
  const log = createLog(config.LOG_LEVEL, {
    readable: false,
    to: { write: (line) => void logged.push(line) },
  })
  const server = await start(config, log, { now: clock.now, passwords }).catch(async (error) => {
    await testDatabase.drop()
    throw error
  })
  const call = callerTo(server.url)
  return {
    ...server,
    testDatabase,
    clock,
    logged,
    call,
    person: (name) => register(call, server.url, name),
    async staff(role) {
      const person = await register(call, server.url)
      await testDatabase.db('users').where({ id: person.id }).update({ role })
      return person
    },
    async stop() {
      await server.stop()
      await testDatabase.drop()
    },
  }
}

async function register(
  call: Caller,
  url: string,
  name = `p${randomUUID().slice(0, 8)}`,
): Promise<Person> {
  const password = 'a ferry to Lisbon'
  const account = await call('POST', '/api/register/', {
    username: name,
    email: `${name}@example.com`,
    password,
  })
  const { body } = await call('POST', '/api/token/', { username: name, password })
  return {
    username: name,
    password,
    id: account.body.id,
    ...body,
    call: callerTo(url, { authorization: `Bearer ${body.access}` }),
  }
}

export function callerTo(url: string, headers: Record<string, string> = {}): Caller {
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    options: CallOptions = {},
  ): Promise<Reply> => {
    const response = await fetch(url + path, {
      method,
      redirect: 'manual',
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
        ...options.headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(options.raw !== undefined && { body: options.raw }),
    })
    const text = await textOf(response)
    const isJson = /json\b/.test(response.headers.get('content-type') ?? '')
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text !== '' ? JSON.parse(text) : undefined,
      text,
    }
  }
  return Object.assign(call, { url })
}

/** The whole body; only the first chunk of an event stream, which has no end. */
async function textOf(response: Response): Promise<string> {
  if (!/event-stream/.test(response.headers.get('content-type') ?? '')) return response.text()
  const reader = response.body!.getReader()
  const { value } = await reader.read()
  await reader.cancel()
  return new TextDecoder().decode(value)
}

function movableClock(): Clock {
  let offset = 0
  return {
    now: () => new Date(Date.now() + offset),
    advance: (milliseconds) => {
      offset += milliseconds
    },
  }
}
