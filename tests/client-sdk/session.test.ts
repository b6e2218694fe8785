import { randomUUID } from 'node:crypto'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { firstValueFrom } from 'rxjs'
import { afterAll, afterEach, describe, expect, vi } from 'vitest'
import type { Person, TestServer } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { test } from './fixtures.ts'
import { acceptAnyText } from './lax-rules.ts'
import type { Network } from './network.ts'

afterAll(acceptAnyText())

const MINUTE = 60_000

let server: TestServer
let network: Network
const now = () => server.clock.now().getTime()
test.beforeAll(({ server: started }) => {
  server = started
})
test.beforeEach(({ network: created }) => {
  network = created
})
afterEach(() => vi.restoreAllMocks())

test.each(['https://example.com/tasks', 'example.com', 'ftp://example.com', ''])(
  'a client with %j is refused, with a remedy',
  async (url) => {
    const refusal = { code: 'invalid', message: expect.stringContaining('such as https://') }
    await expect(device({ url })).rejects.toMatchObject(refusal)
  },
)

const renewals = () => network.seen.filter((request) => request.includes('/token/refresh/'))

describe('a person', () => {
  test.each([
    ['the timezone and language of the device', 'Asia/Tokyo', 'de-AT', 'Asia/Tokyo', 'de-AT'],
    ['those of the server, which does not know these', 'Mars/Olympus', 'en', 'UTC', 'en'],
  ])('starts with %s', async (_, timeZone, locale, timezone, language) => {
    const options = { ...new Intl.DateTimeFormat().resolvedOptions(), timeZone, locale }
    vi.spyOn(Intl.DateTimeFormat.prototype, 'resolvedOptions').mockReturnValue(options)
    const phone = await device(network)
    const username = `p${randomUUID().slice(0, 8)}`
    const email = `${username}@example.com`
    await phone.session.register({ username, email, password: 'a ferry to Lisbon' })
    await phone.sync.awaitInSync()
    const [profile] = await phone.profile.find().exec()
    expect(profile).toMatchObject({ timezone, locale: language })
  })

  test('registers, and is signed in', async () => {
    const phone = await device(network)
    expect(() => phone.tasks).toThrow('Sign in first.')
    const user = await phone.session.register({
      username: 'maria',
      email: 'maria@example.com',
      password: 'a ferry to Lisbon',
    })
    expect(await firstValueFrom(phone.session.user$)).toEqual(user)
    await phone.sync.awaitInSync()
    const [profile] = await phone.profile.find().exec()
    expect(profile!.id).toBe(user.id)
  })

  test.for([
    ['the address', ({ username }: Person) => `${username}@example.com`],
    ['other letters', ({ username }: Person) => username.toUpperCase()],
  ] as const)('is known by the username after signing in with %s', async ([, name], { ann }) => {
    const phone = await device(network)
    const { username, password } = ann
    const user = await phone.session.signIn({ username: name(ann), password })
    expect(user).toEqual({ id: ann.id, username })
  })

  test('is told why a sign-in is refused', async () => {
    const phone = await device(network)
    const refused = phone.session.signIn({ username: 'nobody', password: 'a ferry to Lisbon' })
    await expect(refused).rejects.toMatchObject({ code: 'credentials_not_valid', status: 401 })
    network.cut()
    const lost = phone.session.signIn({ username: 'nobody', password: 'a ferry to Lisbon' })
    await expect(lost).rejects.toMatchObject({ code: 'unreachable' })
  })

  test('signs in again on the same device while others guess the password', async ({
    serverWith,
  }) => {
    const limited = await serverWith({ AUTH_RATE_LIMIT: '1000' })
    const { username, password } = await limited.person()
    const name = `known-${username}`
    const before = await device(limited, { name })
    await before.session.signIn({ username, password })
    await before.session.signOut()
    await shut(before)
    const guess = { username, password: 'a ferry to Porto' }
    for (let i = 0; i < 6; i++) await limited.call('POST', '/api/token/', guess)
    const stranger = await device(limited)
    const refusal = { code: 'too_many_requests', status: 429 }
    await expect(stranger.session.signIn({ username, password })).rejects.toMatchObject(refusal)
    const phone = await device(limited, { name })
    await phone.session.signIn({ username, password })
    await phone.sync.awaitInSync()
  })

  test('starts and works without a network', async ({ ann }) => {
    const name = `offline-${ann.id}`
    const before = await deviceOf(network, ann, { name })
    await before.tasks.add({ title: 'Ferry' })
    await before.sync.awaitInSync()
    const syncedAt = await firstValueFrom(before.sync.last_synced_at$)
    await shut(before)
    network.cut()
    const phone = await device(network, { name })
    expect(await firstValueFrom(phone.session.user$)).toMatchObject({ id: ann.id })
    expect(await firstValueFrom(phone.sync.last_synced_at$)).toBe(syncedAt)
    await phone.tasks.add({ title: 'Train' })
    expect(await phone.tasks.count().exec()).toBe(2)
    await until(phone.sync.pending$, (pending) => pending === 1)
    await until(phone.sync.status$, (status) => status === 'offline')
    network.mend()
    phone.sync.resume()
    await phone.sync.awaitInSync()
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(2)
  })

  test('is told when waiting for sync takes too long', async () => {
    const phone = await deviceOf(network, await server.person())
    network.cut()
    await expect(phone.sync.awaitInSync({ timeout: 50 })).rejects.toMatchObject({
      code: 'timed_out',
    })
  })

  test('may pause sync, and nothing is sent until they resume', async ({ ann }) => {
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    phone.sync.pause()
    await until(phone.sync.status$, (status) => status === 'offline')
    network.seen.length = 0
    await phone.tasks.add({ title: 'Ferry' })
    await until(phone.sync.pending$, (pending) => pending === 1)
    for (let i = 0; i < 10; i++) await ann.call('GET', '/api/tasks/')
    expect(network.seen).toEqual([])
    phone.sync.resume()
    await phone.sync.awaitInSync()
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
  })
})

describe('a pause', () => {
  test('survives a restart of the app, and waking', async ({ ann }) => {
    const name = `paused-${ann.id}`
    const before = await deviceOf(network, ann, { name })
    await before.sync.awaitInSync()
    expect(await firstValueFrom(before.sync.isPaused$)).toBe(false)
    await before.sync.pause()
    await shut(before)

    network.seen.length = 0
    const after = await device(network, { name })
    expect(await firstValueFrom(after.sync.isPaused$)).toBe(true)
    await until(after.sync.status$, (status) => status === 'offline')
    after.sync.wake()
    await after.tasks.add({ title: 'Ferry' })
    await until(after.sync.pending$, (pending) => pending === 1)
    expect(network.seen).toEqual([])
    await after.sync.resume()
    await after.sync.awaitInSync()
    await shut(after)

    const last = await device(network, { name })
    expect(await firstValueFrom(last.sync.isPaused$)).toBe(false)
    await last.sync.awaitInSync()
  })

  test('is decided by the last call, however quickly', async ({ ann }) => {
    const name = `quick-${ann.id}`
    const before = await deviceOf(network, ann, { name })
    void before.sync.pause()
    void before.sync.resume()
    void before.sync.pause()
    await shut(before)
    const after = await device(network, { name })
    expect(await firstValueFrom(after.sync.isPaused$)).toBe(true)
  })

  test("ends when the person signs in anew, and is nobody else's", async ({ ann, bob }) => {
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    await phone.sync.pause()
    await phone.tasks.add({ title: 'Ferry' })
    await phone.session.signOut({ keepData: true })
    expect(await firstValueFrom(phone.sync.isPaused$)).toBe(false)
    await phone.session.signIn(bob)
    expect(await firstValueFrom(phone.sync.isPaused$)).toBe(false)
    await phone.session.signOut()
    await phone.session.signIn(ann)
    expect(await firstValueFrom(phone.sync.isPaused$)).toBe(false)
    await phone.sync.awaitInSync()
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
  })

  test('is off, and waking sends nothing, when nobody is signed in', async () => {
    const phone = await device(network)
    phone.sync.wake()
    expect(await firstValueFrom(phone.sync.isPaused$)).toBe(false)
    expect(network.seen).toEqual([])
  })
})

test('a write is unsent from the moment that it is made', async () => {
  const phone = await deviceOf(network, await server.person())
  for (let round = 0; round < 20; round++) {
    await phone.sync.awaitInSync()
    const task = await phone.tasks.add({ title: `Task ${round}` })
    expect(await firstValueFrom(phone.sync.state$)).toMatchObject({ status: 'syncing', pending: 1 })
    await phone.sync.awaitInSync()
    await task.incrementalRemove()
    expect(await firstValueFrom(phone.sync.state$)).toMatchObject({ status: 'syncing', pending: 1 })
  }
})

describe('tokens', () => {
  test('are renewed before they expire, once for all that wait', async () => {
    const phone = await deviceOf(network, await server.person(), { now })
    await phone.sync.awaitInSync()
    server.clock.advance(14 * MINUTE + 1)
    network.seen.length = 0
    phone.sync.resume()
    await phone.sync.awaitInSync()
    expect(renewals()).toHaveLength(1)
  })

  test('are renewed when the server rejects them, whatever the clock of the device says', async () => {
    const phone = await deviceOf(network, await server.person())
    await phone.sync.awaitInSync()
    server.clock.advance(20 * MINUTE)
    network.seen.length = 0
    await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    expect(renewals()).toHaveLength(1)
  })

  test('survive the loss of a response, repeatedly', async () => {
    const phone = await deviceOf(network, await server.person(), { now })
    await phone.sync.awaitInSync()
    for (let round = 0; round < 3; round++) {
      server.clock.advance(15 * MINUTE)
      let lost = 2
      network.onRequest = (path) =>
        path.includes('/token/refresh/') && lost-- > 0 ? 'lose_answer' : 'pass'
      await phone.tasks.add({ title: `Task ${round}` })
      await until(phone.sync.status$, (status) => status === 'offline')
      phone.sync.resume()
      await phone.sync.awaitInSync()
    }
    await until(phone.sync.status$, (status) => status === 'synced')
  })

  test('renew the live connection in place', async ({ ann }) => {
    const phone = await deviceOf(network, ann, { now })
    await phone.sync.awaitInSync()
    server.clock.advance(14 * MINUTE + 1)
    phone.sync.resume()
    await phone.sync.awaitInSync()
    server.clock.advance(2 * MINUTE)
    network.seen.length = 0
    const { body } = await ann.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    await ann.call('POST', '/api/tasks/', { title: 'Ferry' }, bearer(body.access))
    await until(phone.tasks.count().$, (count) => count === 1)
    expect(network.seen).toEqual([])
  })
})

describe('a revoked session', () => {
  test('stops syncing and keeps unsent edits until the person signs in again', async ({ ann }) => {
    const phone = await deviceOf(network, ann, { now })
    await phone.sync.awaitInSync()
    network.cut()
    await revokeSessionsOf(ann)
    network.mend()
    await phone.tasks.add({ title: 'Ferry' })
    phone.sync.resume()
    await until(phone.sync.status$, (status) => status === 'signed_out')
    await phone.tasks.add({ title: 'Train' })
    await until(phone.sync.pending$, (pending) => pending === 2)
    expect(await firstValueFrom(phone.session.user$)).toMatchObject({ id: ann.id })
    network.seen.length = 0
    phone.sync.resume()
    expect(network.seen).toEqual([])

    await phone.session.signIn(ann)
    await phone.sync.awaitInSync()
    expect(await firstValueFrom(phone.sync.status$)).toBe('synced')
    const laptop = await deviceOf(server, ann)
    await laptop.sync.awaitInSync()
    expect(await tasksOf(laptop)).toEqual(await tasksOf(phone))
  })

  test('does not show its data to the next user who signs in', async ({ ann, bob }) => {
    const name = `shared-${ann.id}`
    const phone = await deviceOf(network, ann, { name })
    await phone.sync.awaitInSync()
    network.cut()
    await revokeSessionsOf(ann)
    network.mend()
    await phone.tasks.add({ title: 'Of Ann' })
    phone.sync.resume()
    await until(phone.sync.status$, (status) => status === 'signed_out')
    await phone.session.signIn(bob)
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toEqual([])
    expect((await bob.call('GET', '/api/tasks/')).body.count).toBe(0)

    await phone.session.signOut()
    await phone.session.signIn(ann)
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toMatchObject([{ title: 'Of Ann' }])
  })
})

describe('signing out', () => {
  test('removes all data from the device when everything is sent, and ends the session', async ({
    ann,
    bob,
  }) => {
    const phone = await deviceOf(network, ann)
    await phone.tasks.add({ title: 'Of Ann' })
    await phone.sync.awaitInSync()
    await phone.session.signOut()
    expect(await firstValueFrom(phone.session.user$)).toBeNull()
    expect(() => phone.tasks).toThrow('Sign in first.')
    expect(network.seen).toContain('POST /api/logout/')

    await phone.session.signIn(bob)
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toEqual([])
    await phone.session.signOut()
    network.onRequest = (path) => (path.startsWith('/replication/') ? 'lose' : 'pass')
    await phone.session.signIn(ann)
    expect(await tasksOf(phone)).toEqual([])
  })

  test.for([
    { keepData: true, left: 1 },
    { keepData: false, left: 0 },
  ])(
    'asks about unsent edits: with $keepData, $left are left',
    async ({ keepData, left }, { ann }) => {
      const phone = await deviceOf(network, ann)
      await phone.sync.awaitInSync()
      network.cut()
      await phone.tasks.add({ title: 'Ferry' })
      await expect(phone.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
      expect(await phone.tasks.count().exec()).toBe(1)
      await phone.session.signOut({ keepData })
      network.mend()
      await phone.session.signIn(ann)
      await phone.sync.awaitInSync()
      expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(left)
    },
  )

  test('asks about rejected edits, too', async () => {
    const phone = await deviceOf(network, await server.person())
    await phone.tasks.add({ title: '' })
    await phone.sync.awaitInSync()
    await expect(phone.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
    const [rejected] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    await rejected!.discard()
    await phone.session.signOut()
  })

  test('needs no network: the server ends the session when it can be reached', async ({ ann }) => {
    const name = `left-${ann.id}`
    const phone = await deviceOf(network, ann, { name })
    await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    network.cut()
    await phone.session.signOut()
    expect(await firstValueFrom(phone.session.user$)).toBeNull()
    await shut(phone)
    const offline = await device(network, { name })
    expect(await firstValueFrom(offline.session.user$)).toBeNull()
    await shut(offline)
    expect(await liveSessionsOf(ann)).toBe(2)

    network.mend()
    network.seen.length = 0
    const ended = answerTo('/api/logout/')
    const again = await device(network, { name })
    await ended
    expect(network.seen).toEqual(['POST /api/logout/'])
    expect(await liveSessionsOf(ann)).toBe(1)

    // Signing in is the next thing that is asked of the server.
    await again.session.signIn(ann)
    await shut(again)
    await shut(await device(network, { name }))
    expect(network.seen.filter((request) => request.includes('logout'))).toHaveLength(1)
  })

  test('is reported again if the response is lost, also while another user is signed in', async ({
    ann,
    bob,
  }) => {
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    network.onRequest = (path) => (path.includes('logout') ? 'lose_answer' : 'pass')
    await phone.session.signOut()
    expect(await liveSessionsOf(ann)).toBe(1)
    const told = answerTo('/api/logout/')
    network.onRequest = () => 'pass'
    await phone.session.signIn(bob)
    await told
    await phone.sync.awaitInSync()
    expect(await liveSessionsOf(bob)).toBe(2)
    expect(await firstValueFrom(phone.session.user$)).toMatchObject({ id: bob.id })
  })

  test('is reported as soon as the network is back, with nobody signed in', async ({ ann }) => {
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    network.cut()
    await phone.session.signOut()
    network.mend()
    await answerTo('/api/logout/')
    expect(await liveSessionsOf(ann)).toBe(1)
  })

  /** The one of the device, and the one that the test itself has. */
  const liveSessionsOf = async ({ id }: Person) =>
    (await server.testDatabase.db('sessions').where({ user_id: id, revoked_at: null })).length

  const answerTo = (wanted: string) =>
    new Promise<void>((resolve) => {
      network.onAnswer = (path) => {
        if (path === wanted) resolve()
      }
    })
})

describe('two tabs', () => {
  test('sync as one, whichever is open', async ({ ann }) => {
    const name = `tabs-${ann.id}`
    const first = await deviceOf(network, ann, { name, ...tab(1) })
    await first.sync.awaitInSync()
    const second = await device(network, { name, ...tab(2) })
    expect(await firstValueFrom(second.session.user$)).toMatchObject({ id: ann.id })
    await second.sync.awaitInSync()

    await first.tasks.add({ title: 'From the first' })
    await second.tasks.add({ title: 'From the second' })
    await Promise.all([first.sync.awaitInSync(), second.sync.awaitInSync()])
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(2)
    expect(pushes().length).toBeLessThanOrEqual(2)
    await until(first.sync.pending$, (pending) => pending === 0)
    await until(first.sync.status$, (status) => status === 'synced')

    // The tab that syncs is closed, and the other takes over.
    await shut(second)
    await first.tasks.add({ title: 'From the first again' })
    await first.sync.awaitInSync()
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(3)
  })

  test('pause, sign out and sign in together', async ({ ann }) => {
    const name = `together-${ann.id}`
    const first = await deviceOf(network, ann, { name, ...tab(1) })
    const second = await device(network, { name, ...tab(2) })
    await second.sync.awaitInSync()
    first.sync.pause()
    await until(second.sync.status$, (status) => status === 'offline')
    expect(await firstValueFrom(second.sync.isPaused$)).toBe(true)
    first.sync.resume()
    await until(second.sync.status$, (status) => status === 'synced')
    expect(await firstValueFrom(second.sync.isPaused$)).toBe(false)
    await first.session.signOut()
    await until(second.session.user$, (user) => user === null)
    await second.session.signIn(ann)
    await until(first.session.user$, (user) => user?.id === ann.id)
    await first.sync.awaitInSync()
  })

  test('ask about unsent edits, whichever of them syncs', async ({ ann }) => {
    const name = `asks-${ann.id}`
    const first = await deviceOf(network, ann, { name, ...tab(1) })
    const second = await device(network, { name, ...tab(2) })
    await Promise.all([first.sync.awaitInSync(), second.sync.awaitInSync()])
    first.sync.pause()
    await until(second.sync.status$, (status) => status === 'offline')
    await first.tasks.add({ title: 'Ferry' })
    await expect(first.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
    await second.tasks.add({ title: 'Train' })
    await expect(second.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
    await until(first.sync.pending$, (pending) => pending === 2)
  })

  test('pause together with one that opens later', async ({ ann }) => {
    const name = `later-${ann.id}`
    const first = await deviceOf(network, ann, { name, ...tab(1) })
    await first.sync.awaitInSync()
    first.sync.pause()
    const second = await device(network, { name, ...tab(2) })
    await until(second.sync.status$, (status) => status === 'offline')
    await second.tasks.add({ title: 'Ferry' })
    await until(first.sync.pending$, (pending) => pending === 1)
    second.sync.resume()
    await first.sync.awaitInSync()
  })

  test('stay resumed if one is resumed as soon as it is open, before it hears of the others', async ({
    ann,
  }) => {
    const name = `soon-${ann.id}`
    const first = await deviceOf(network, ann, { name, ...tab(1) })
    await first.sync.pause()
    const second = await device(network, { name, ...tab(2) })
    await second.sync.resume()
    await second.tasks.add({ title: 'Ferry' })
    await Promise.all([first.sync.awaitInSync(), second.sync.awaitInSync()])
    const paused = [first, second].map(({ sync }) => firstValueFrom(sync.isPaused$))
    expect(await Promise.all(paused)).toEqual([false, false])
  })

  test('renew the token once', async ({ ann }) => {
    const name = `renew-${ann.id}`
    const first = await deviceOf(network, ann, { name, now, ...tab(1) })
    const second = await device(network, { name, now, ...tab(2) })
    await Promise.all([first.sync.awaitInSync(), second.sync.awaitInSync()])
    server.clock.advance(15 * MINUTE)
    network.seen.length = 0
    first.sync.resume()
    await Promise.all([first.sync.awaitInSync(), second.sync.awaitInSync()])
    expect(renewals()).toHaveLength(1)
  })

  test('send nothing of one user to another, even if one tab has not noticed the change', async ({
    ann,
    bob,
  }) => {
    const name = `deaf-${ann.id}`
    const deaf = { multiInstance: false }
    const first = await deviceOf(network, ann, { name, ...tab(1), ...deaf })
    await first.sync.awaitInSync()
    network.cut()
    await first.tasks.add({ title: 'For ann alone' })
    const second = await device(server, { name, ...tab(2), ...deaf })
    await second.session.signOut({ keepData: true })
    await second.session.signIn(bob)
    network.mend()
    first.sync.resume()
    await until(first.sync.status$, (status) => status === 'signed_out')
    await second.sync.awaitInSync()
    expect((await bob.call('GET', '/api/tasks/')).body.count).toBe(0)
    expect((await first.tasks.find().exec()).map(({ title }) => title)).toEqual(['For ann alone'])
  })

  const pushes = () => network.seen.filter((request) => request.startsWith('POST /replication/'))

  /** RxDB refuses to open a database twice on what it takes for one storage. */
  const tab = (number: number) => ({
    multiInstance: true,
    storage: { ...getRxStorageMemory(), name: `memory-${number}` },
  })
})

/** Returns when the server knows: it asks once a second. */
async function revokeSessionsOf({ id, call }: Person): Promise<void> {
  await call('GET', '/api/profile/')
  await server.testDatabase.db('sessions').where({ user_id: id }).update({ revoked_at: new Date() })
  while ((await call('GET', '/api/profile/')).status !== 401);
}

const bearer = (access: string) => ({ headers: { authorization: `Bearer ${access}` } })

test('an edit that is made while somebody signs out is refused, or asked about', async ({
  ann,
}) => {
  for (let turns = 0; turns < 12; turns++) {
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    await phone.sync.pause()
    const leaving = phone.session.signOut().then(
      () => 'signed out',
      ({ code }) => code,
    )
    const { tasks } = phone
    for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
    const adding = tasks.add({ title: 'Late' }).then(
      () => 'kept',
      () => 'refused',
    )
    expect(['unsent_edits kept', 'signed out refused']).toContain(
      `${await leaving} ${await adding}`,
    )
    await phone.session.signOut({ keepData: false })
  }
})
