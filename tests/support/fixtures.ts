import { test as plain } from 'vitest'
import { mailingTo, openMailbox } from './mailbox.ts'
import { startServer, type TestServer } from './server.ts'

/**
 * `test` with a server for the whole file and new users for each test, each created when a test first asks for it.
 * `test.extend('environment', …)` configures the server.
 */
export const test = plain
  .extend('environment', { scope: 'file' }, (): Record<string, string> => ({}))
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names of the fixtures that are needed
  .extend('mailbox', { scope: 'file' }, async ({}, { onCleanup }) => {
    const mailbox = await openMailbox()
    onCleanup(() => mailbox.close())
    return mailbox
  })
  .extend('server', { scope: 'file' }, async ({ environment }, { onCleanup }) => {
    const server = await startServer(environment)
    onCleanup(() => server.stop())
    return server
  })
  // Another node on the same database.
  .extend('other', { scope: 'file' }, async ({ server }, { onCleanup }) => {
    const other = await startServer({ DATABASE_URL: server.testDatabase.url })
    onCleanup(() => other.stop())
    return other
  })
  .extend('ann', ({ server }) => server.person())
  .extend('bob', ({ server }) => server.person())
  .extend('admin', ({ server }) => server.staff('admin'))
  // Starts servers that only this test uses: its clock, its settings, its end.
  // biome-ignore lint/correctness/noEmptyPattern: the same
  .extend('serverWith', ({}, { onCleanup }) => {
    const started: TestServer[] = []
    onCleanup(async () => {
      for (const server of started.reverse()) await server.stop()
    })
    return async (environment: Record<string, string> = {}) => {
      const server = await startServer(environment)
      started.push(server)
      return server
    }
  })

/** `test` with a server that sends mail, to the mailbox. */
export const mailing = test.extend('environment', { scope: 'file' }, ({ mailbox }) =>
  mailingTo(mailbox),
)

for (const shared of [test, mailing])
  Object.defineProperty(shared, 'override', {
    value() {
      throw new Error('Files share this test: use what `extend` returns.')
    },
  })
