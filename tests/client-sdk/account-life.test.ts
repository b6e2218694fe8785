import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { firstValueFrom } from 'rxjs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Client } from '../../client-sdk/index.ts'
import { databaseName } from '../../client-sdk/local-copy.ts'
import { runJob } from '../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../support/mailbox.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { createNetwork, type Network } from './network.ts'

const DAY = 24 * 60 * 60_000
const NEXT_PASSWORD = 'an early train to Porto'

let mailbox: Mailbox
let server: TestServer
let network: Network
const now = () => server.clock.now().getTime()
beforeAll(async () => {
  mailbox = await openMailbox()
  server = await startServer(mailingTo(mailbox))
})
beforeEach(async () => {
  network = await createNetwork(server.url)
})
afterEach(() => network.close())
afterAll(async () => {
  await server.stop()
  await mailbox.close()
})

const statusIs = (client: Client, wanted: string) =>
  until(client.sync.status$, (status) => status === wanted)

const isSignedOut = (client: Client) => until(client.session.user$, (user) => user === null)

/** The token of the next mail to this address. */
async function tokenTo(address: string, purpose: string): Promise<string> {
  const { mail } = await mailbox.next(address)
  const token = new RegExp(`#${purpose}=([\\w-]{43})`).exec(mail.text ?? '')?.[1]
  expect(token, mail.text).toBeDefined()
  return token!
}

describe('an account', () => {
  test('is confirmed by the mailed link, also where nobody is signed in', async () => {
    const ann = await server.person()
    const email = `${ann.username}@example.com`
    const phone = await deviceOf(network, ann)
    expect(await phone.account.get()).toMatchObject({
      id: ann.id,
      email,
      email_verified_at: null,
      pending_email: null,
      role: 'user',
    })
    await tokenTo(email, 'confirm_email')
    await phone.account.resendConfirmation()
    const token = await tokenTo(email, 'confirm_email')
    const stranger = await device(network)
    const { username } = await phone.account.get()
    const asked = { username, email, is_change: false }
    expect(await stranger.account.showConfirmation(token)).toEqual(asked)
    await stranger.account.confirmEmail(token)
    expect((await phone.account.get()).email_verified_at).toMatch(/Z$/)
    await expect(stranger.account.confirmEmail(token)).rejects.toMatchObject({
      code: 'link_not_valid',
      status: 400,
    })
  })

  test('changes its address when the new one is confirmed', async () => {
    const ann = await server.person()
    const phone = await deviceOf(network, ann)
    const email = `new-${ann.username}@example.com`
    const wrong = phone.account.changeEmail({ email, password: 'not mine' })
    await expect(wrong).rejects.toMatchObject({
      code: 'invalid',
      errors: { password: [expect.any(String)] },
    })
    await phone.account.changeEmail({ email, password: ann.password })
    expect(await phone.account.get()).toMatchObject({ pending_email: email })
    await phone.account.confirmEmail(await tokenTo(email, 'confirm_email'))
    expect(await phone.account.get()).toMatchObject({ email, pending_email: null })
  })

  test('is requested with a token that is refreshed if it has expired', async () => {
    const phone = await deviceOf(network, await server.person(), { now })
    await phone.sync.awaitInSync()
    await phone.sync.pause()
    server.clock.advance(20 * 60_000)
    network.seen.length = 0
    await phone.account.get()
    expect(network.seen).toEqual(['POST /api/token/refresh/', 'GET /api/account/'])
  })

  test.each<[string, (client: Client) => Promise<unknown>]>([
    ['reading', ({ account }) => account.get()],
    ['listing devices', ({ account }) => account.sessions()],
    ['listing tokens', ({ account }) => account.personalTokens()],
    ['exporting', ({ account }) => account.export('json')],
    ['deleting', ({ account }) => account.delete('a ferry to Lisbon')],
    ['forgetting the password', ({ account }) => account.forgotPassword('ann@example.com')],
  ])('needs the network for %s', async (_, ask) => {
    const phone = await deviceOf(network, await server.person())
    network.cut()
    await expect(ask(phone)).rejects.toMatchObject({ code: 'unreachable' })
    expect(await firstValueFrom(phone.session.user$)).not.toBeNull()
  })

  test('cannot be read without a sign-in', async () => {
    const phone = await device(network)
    await expect(phone.account.get()).rejects.toMatchObject({ code: 'signed_out' })
    await expect(phone.account.delete('any')).rejects.toMatchObject({ code: 'signed_out' })
    expect(network.seen).toEqual([])
  })
})

describe('a password', () => {
  test('that is changed signs out the other devices, which keep their edits until the next sign-in', async () => {
    const ann = await server.person()
    const [phone, laptop] = [await deviceOf(network, ann), await deviceOf(server, ann)]
    await Promise.all([phone.sync.awaitInSync(), laptop.sync.awaitInSync()])
    network.cut()
    await phone.tasks.add({ title: 'Written offline' })
    const refused = laptop.account.changePassword({
      current_password: 'not mine',
      new_password: NEXT_PASSWORD,
    })
    await expect(refused).rejects.toMatchObject({ errors: { current_password: expect.anything() } })
    await laptop.account.changePassword({
      current_password: ann.password,
      new_password: NEXT_PASSWORD,
    })
    network.mend()
    phone.sync.wake()
    await statusIs(phone, 'signed_out')
    expect(await firstValueFrom(phone.session.notice$)).toBeNull()
    expect(await tasksOf(phone)).toMatchObject([{ title: 'Written offline' }])
    await expect(phone.account.get()).rejects.toMatchObject({ code: 'signed_out' })

    await expect(phone.session.signIn(ann)).rejects.toMatchObject({ code: 'credentials_not_valid' })
    await phone.session.signIn({ ...ann, password: NEXT_PASSWORD })
    await phone.sync.awaitInSync()
    await laptop.sync.awaitInSync()
    expect(await tasksOf(laptop)).toMatchObject([{ title: 'Written offline' }])
  })

  test('that is forgotten is reset by the mailed link, where nobody is signed in', async () => {
    const ann = await server.person()
    const email = `${ann.username}@example.com`
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    const library = await device(server)
    await tokenTo(email, 'confirm_email')
    await library.account.forgotPassword(`nobody-${email}`)
    await library.account.forgotPassword(email)
    const token = await tokenTo(email, 'reset_password')
    await expect(library.account.resetPassword({ token, password: 'short' })).rejects.toMatchObject(
      { code: 'invalid', errors: { password: expect.anything() } },
    )
    await library.account.resetPassword({ token, password: NEXT_PASSWORD })
    expect(await firstValueFrom(library.session.user$)).toBeNull()
    await statusIs(phone, 'signed_out')
    await library.session.signIn({ ...ann, password: NEXT_PASSWORD })
  })
})

describe('the devices', () => {
  test('are listed, and one that is signed out stops at once, and keeps its unsent edits', async () => {
    const ann = await server.person()
    const [phone, laptop] = [await deviceOf(network, ann), await deviceOf(server, ann)]
    await Promise.all([phone.sync.awaitInSync(), laptop.sync.awaitInSync()])
    const sessions = await laptop.account.sessions()
    // The third is the one by which the account was made.
    expect(sessions.map(({ current }) => current).sort()).toEqual([false, false, true])
    await laptop.account.endOtherSessions()
    await statusIs(phone, 'signed_out')
    await phone.tasks.add({ title: 'Not sent' })
    expect(await firstValueFrom(phone.session.user$)).toMatchObject({ id: ann.id })
    const [only, ...others] = await laptop.account.sessions()
    expect(others).toEqual([])

    await laptop.account.endSession(only!.id)
    await statusIs(laptop, 'signed_out')
    const unknown = phone.session.signIn(ann).then(() => phone.account.endSession(only!.id))
    await expect(unknown).rejects.toMatchObject({ code: 'not_found', status: 404 })
    await phone.sync.awaitInSync()
    expect((await phone.account.sessions()).map(({ current }) => current)).toEqual([true])
  })
})

describe('an export', () => {
  test.each([
    ['json', 'application/json', /^\{"account":\{.*"title":"Ferry".*\}$/s],
    ['csv', 'text/csv', /Ferry/],
    ['ics', 'text/calendar', /SUMMARY:Ferry/],
  ] as const)('as %s has what the device has sent', async (format, type, content) => {
    const phone = await deviceOf(server, await server.person())
    await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    const response = await phone.account.export(format)
    expect(response.headers.get('content-type')).toContain(type)
    expect(await response.text()).toMatch(content)
  })

  test('is streamed: it can be read before its end arrives', async () => {
    const phone = await deviceOf(server, await server.person())
    const rows = Array.from({ length: 3_000 }, (_, i) => ({
      title: `Task ${i}`,
      description: 'x'.repeat(2_000),
    }))
    await phone.tasks.bulkInsert(rows as never)
    await phone.sync.awaitInSync()
    const response = await phone.account.export('json')
    const reader = response.body!.getReader()
    const first = await reader.read()
    expect(first.value!.length).toBeLessThan(3_000_000)
    await reader.cancel()
    expect(await phone.account.get()).toMatchObject({ role: 'user' })
  }, 60_000)
})

test('an account that is deleted because nobody confirmed its address stays on its devices, unsent edits included', async () => {
  const ann = await server.person()
  const storage = getRxStorageMemory()
  const name = `unconfirmed-${ann.id}`
  const phone = await deviceOf(network, ann, { name, storage, now })
  await phone.tasks.add({ title: 'Sent' })
  await phone.sync.awaitInSync()
  expect((await phone.account.get()).deletes_at).toMatch(/Z$/)
  network.cut()
  await phone.tasks.add({ title: 'Never sent' })
  await statusIs(phone, 'offline')
  const { db } = server.testDatabase
  for (const days of [7, 8]) {
    server.clock.advance(days * DAY)
    await runJob(db, 'check_unconfirmed')
  }
  expect(await db('users').where({ id: ann.id })).toEqual([])
  network.mend()
  phone.sync.wake()
  await statusIs(phone, 'signed_out')
  await shut(phone)
  const later = await device(network, { name, storage, now })
  await statusIs(later, 'signed_out')
  expect((await tasksOf(later)).map(({ title }) => title).sort()).toEqual(['Never sent', 'Sent'])
  await later.tasks.add({ title: 'Afterwards' })
  expect(await firstValueFrom(later.session.notice$)).toBeNull()
})

describe('an account that is deleted', () => {
  test('is removed from the device that deletes it, with unsent edits', async () => {
    const ann = await server.person()
    const storage = getRxStorageMemory()
    const name = `deletes-${ann.id}`
    const phone = await deviceOf(network, ann, { name, storage })
    await phone.sync.awaitInSync()
    await expect(phone.account.delete('not mine')).rejects.toMatchObject({
      errors: { password: expect.anything() },
    })
    await phone.sync.pause()
    await phone.tasks.add({ title: 'Never sent' })
    await phone.account.delete(ann.password)
    expect(await firstValueFrom(phone.session.user$)).toBeNull()
    expect(await firstValueFrom(phone.session.notice$)).toBe('account_deleted')
    expect(() => phone.tasks).toThrow('Sign in first.')
    await phone.session.signIn(await server.person())
    expect(await firstValueFrom(phone.session.notice$)).toBeNull()
    await phone.sync.awaitInSync()
    await shut(phone)
    expectNothingOf(ann.id, name, storage)
  })

  test('is removed from a connected device', async () => {
    const ann = await server.person()
    const [phone, laptop] = [await deviceOf(network, ann), await deviceOf(server, ann)]
    await Promise.all([phone.sync.awaitInSync(), laptop.sync.awaitInSync()])
    await laptop.account.delete(ann.password)
    await isSignedOut(phone)
    expect(await firstValueFrom(phone.session.notice$)).toBe('account_deleted')
  })

  test.each([
    ['comes back within minutes', 0],
    ['has slept for a day', DAY],
    ['has slept past the end of its session', 40 * DAY],
  ])('is removed from a device that was offline and %s', async (_, asleep) => {
    const ann = await server.person()
    const storage = getRxStorageMemory()
    const name = `offline-${ann.id}`
    const phone = await deviceOf(network, ann, { name, storage, now })
    const laptop = await deviceOf(server, ann)
    await Promise.all([phone.sync.awaitInSync(), laptop.sync.awaitInSync()])
    network.cut()
    await phone.tasks.add({ title: 'Never sent' })
    await statusIs(phone, 'offline')
    await laptop.account.delete(ann.password)
    server.clock.advance(asleep)
    network.mend()
    phone.sync.wake()
    await isSignedOut(phone)
    expect(await firstValueFrom(phone.session.notice$)).toBe('account_deleted')
    await shut(phone)
    expectNothingOf(ann.id, name, storage)
  })

  test('is removed from a device that was not running, at its next start', async () => {
    const ann = await server.person()
    const storage = getRxStorageMemory()
    const name = `closed-${ann.id}`
    const before = await deviceOf(network, ann, { name, storage })
    await before.sync.awaitInSync()
    network.cut()
    await before.tasks.add({ title: 'Never sent' })
    await shut(before)
    await (await deviceOf(server, ann)).account.delete(ann.password)
    network.mend()
    const after = await device(network, { name, storage })
    await isSignedOut(after)
    await shut(after)
    expectNothingOf(ann.id, name, storage)
  })

  test('is removed from a device whose session had ended before', async () => {
    const ann = await server.person()
    const storage = getRxStorageMemory()
    const name = `ended-${ann.id}`
    const before = await deviceOf(network, ann, { name, storage })
    const laptop = await deviceOf(server, ann)
    await before.sync.awaitInSync()
    await laptop.account.endOtherSessions()
    await statusIs(before, 'signed_out')
    await before.tasks.add({ title: 'Never sent' })
    await shut(before)
    const still = await device(network, { name, storage })
    await statusIs(still, 'signed_out')
    expect(await tasksOf(still)).toMatchObject([{ title: 'Never sent' }])
    await shut(still)
    await laptop.account.delete(ann.password)
    const after = await device(network, { name, storage })
    await isSignedOut(after)
    await shut(after)
    expectNothingOf(ann.id, name, storage)
  })

  test('is removed from a device where the user signed out and kept the data, without affecting the next user', async () => {
    const [ann, bob] = [await server.person(), await server.person()]
    const storage = getRxStorageMemory()
    const name = `kept-${ann.id}`
    const phone = await deviceOf(network, ann, { name, storage })
    await phone.sync.awaitInSync()
    network.cut()
    await phone.tasks.add({ title: 'Never sent' })
    await phone.session.signOut({ keepData: true })
    await (await deviceOf(server, ann)).account.delete(ann.password)
    network.onRequest = (path) => (path === '/api/logout/' ? 'lose' : 'pass')
    network.mend()
    await phone.session.signIn(bob)
    await phone.tasks.add({ title: 'Of Bob' })
    await phone.sync.awaitInSync()
    const told = new Promise<void>((resolve) => {
      network.onRequest = () => 'pass'
      network.onAnswer = (path) => void (path === '/api/logout/' && resolve())
    })
    await shut(phone)
    const after = await device(network, { name, storage })
    await told
    // Whatever follows from it stands before the next thing that is done in turn.
    await after.sync.awaitInSync()
    expect(await tasksOf(after)).toMatchObject([{ title: 'Of Bob' }])
    expect(await firstValueFrom(after.session.notice$)).toBeNull()
    await shut(after)
    expectNothingOf(ann.id, name, storage)
  })
})

type Storage = ReturnType<typeof getRxStorageMemory>

/** A client closes after what it was doing, so what is there then is there to stay. */
function expectNothingOf(id: string, name: string, storage: Storage): void {
  const kept = [...storage.collectionStates.entries()].filter(
    ([key, { documents }]) => key.includes(databaseName(name, { id })) && documents.size > 0,
  )
  expect(kept.map(([key]) => key)).toEqual([])
}

describe('a lost device', () => {
  const THIRTY_ONE_DAYS = 31 * DAY

  /** Erases all other devices of this one. */
  async function eraseOthers(laptop: Client): Promise<void> {
    for (const { id, current } of await laptop.account.sessions())
      if (!current) await laptop.account.endSession(id, { erase: true })
  }

  test('that is erased deletes its data when it comes back, unsent edits included', async () => {
    const ann = await server.person()
    const [name, storage] = [`lost-${ann.id}`, getRxStorageMemory()]
    const phone = await deviceOf(network, ann, { name, storage, now })
    await phone.tasks.add({ title: 'Sent' })
    await phone.sync.awaitInSync()
    network.cut()
    await phone.tasks.add({ title: 'Unsent' })
    const laptop = await deviceOf(server, ann, { now })
    await eraseOthers(laptop)
    network.mend()
    phone.sync.wake()
    await isSignedOut(phone)
    expect(await firstValueFrom(phone.session.notice$)).toBe('device_erased')
    await shut(phone)
    expectNothingOf(ann.id, name, storage)

    const next = await device(network, { name, storage, now })
    expect(await firstValueFrom(next.session.user$)).toBeNull()
    await next.session.signIn(ann)
    await next.sync.awaitInSync()
    expect(await tasksOf(next)).toMatchObject([{ title: 'Sent' }])
    await laptop.sync.awaitInSync()
    expect(await tasksOf(laptop)).toMatchObject([{ title: 'Sent' }])
  })

  test('is erased also when it comes back after its tokens have expired', async () => {
    const ann = await server.person()
    const [name, storage] = [`lost-${ann.id}`, getRxStorageMemory()]
    const phone = await deviceOf(network, ann, { name, storage, now })
    await phone.tasks.add({ title: 'Sent' })
    await phone.sync.awaitInSync()
    await shut(phone)
    const laptop = await deviceOf(server, ann, { now })
    await eraseOthers(laptop)
    server.clock.advance(THIRTY_ONE_DAYS)
    const next = await device(network, { name, storage, now })
    await isSignedOut(next)
    expect(await firstValueFrom(next.session.notice$)).toBe('device_erased')
  })

  test('on which its owner has signed in again keeps what it has now', async () => {
    const ann = await server.person()
    const phone = await deviceOf(network, ann, { now })
    await phone.tasks.add({ title: 'Written before' })
    await phone.sync.awaitInSync()
    const laptop = await deviceOf(server, ann, { now })
    network.cut()
    await phone.session.signOut({ keepData: true })
    await eraseOthers(laptop)
    network.mend()
    await phone.session.signIn(ann)
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toMatchObject([{ title: 'Written before' }])
    expect(await firstValueFrom(phone.session.user$)).not.toBeNull()
  })
})
