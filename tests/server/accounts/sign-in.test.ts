import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect } from 'vitest'
import { DEVICE_HEADER } from '../../../protocol/index.ts'
import { createLinks } from '../../../server/accounts/links.ts'
import { test as plain } from '../../support/fixtures.ts'
import { type Person, type Reply, SECRET, type TestServer } from '../../support/server.ts'

const test = plain.extend('environment', { AUTH_RATE_LIMIT: '100000', TRUST_PROXY: '1' })

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

const WRONG = 'a ferry to Porto'

describe('whoever guesses the password of an account', () => {
  let ann: Person
  beforeEach(async () => {
    ann = await server.person()
  })

  test('waits longer after each of many attempts', async () => {
    const network = someAddress()
    for (let i = 0; i < 5; i++) expect((await guess(ann, network)).status).toBe(401)
    for (let wait = 1; wait <= 256; wait *= 2) {
      await pass(wait)
      expect((await guess(ann, network)).status).toBe(401)
    }
    const early = await guess(ann, network)
    expect(early).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
    expect(waitOf(early)).toBeGreaterThan(450)
    expect(waitOf(early)).toBeLessThanOrEqual(512)
    await pass(512)
    expect((await guess(ann, network)).status).toBe(401)
    expect(waitOf(await guess(ann, network))).toBeLessThanOrEqual(15 * 60)
    await pass(15 * 60)
    expect((await guess(ann, network)).status).toBe(401)
  })

  test('gains nothing by trying all at once', async () => {
    const network = someAddress()
    const replies = await Promise.all(Array.from({ length: 40 }, () => guess(ann, network)))
    const guesses = replies.filter(({ status }) => status === 401).length
    expect(guesses).toBeGreaterThanOrEqual(5)
    // Some seconds pass on a busy machine.
    expect(guesses).toBeLessThanOrEqual(9)
  })

  test('waits for all strangers together, and learns nothing of who exists', async () => {
    for (const account of [ann, { username: newName() }]) {
      await besiege(account)
      const refused = await guess(account, someAddress())
      expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
      expect(waitOf(refused)).toBeGreaterThan(30)
      expect(waitOf(refused)).toBeLessThanOrEqual(60)
    }
    // The owner at a new device waits as long, and no longer.
    await pass(60)
    expect((await signIn(ann, someAddress())).status).toBe(200)
  })

  test('does not delay a device of the owner', async () => {
    const { device } = (await signIn(ann, someAddress())).body
    const bob = await server.person()
    const other = (await signIn(bob, someAddress())).body.device
    await besiege(ann)
    const forged = `${device.split('.')[0]}.${other.split('.')[1]}`
    for (const marks of ['', other, forged, `${device}x`, device.slice(0, -1)])
      expect({ marks, status: (await signIn(ann, someAddress(), marks)).status }).toEqual({
        marks,
        status: 429,
      })
    expect((await signIn(ann, someAddress(), `${other}, ${device}`)).status).toBe(200)
  })

  test('waits also on a device that has signed in before', async () => {
    const { device } = (await signIn(ann, someAddress())).body
    const onDevice = () => guess(ann, someAddress(), device)
    for (let i = 0; i < 12; i++) {
      await pass(15 * 60)
      expect((await onDevice()).status).toBe(401)
    }
    expect((await onDevice()).status).toBe(429)
    expect((await signIn(ann, someAddress())).status).toBe(200)
  })

  test('is forgotten when the password is right', async () => {
    const network = someAddress()
    await statuses(4, () => guess(ann, network))
    expect((await signIn(ann, network)).status).toBe(200)
    expect(await statuses(5, () => guess(ann, network))).toEqual([401, 401, 401, 401, 401])
  })

  test('does not delay an owner who has reset the password', async () => {
    const network = someAddress()
    await besiege(ann, network)
    await besiege(ann)
    expect((await signIn(ann, network)).status).toBe(429)
    const links = createLinks([SECRET], server.clock.now)
    const { db } = server.testDatabase
    const email = `${ann.username}@example.com`
    const id = await links.create(db, { user: ann.id, purpose: 'reset_password', email })
    const token = await links.tokenOf(db, ann.id, id)
    const password = 'an early train to Porto'
    const reset = await server.call(
      'POST',
      '/api/account/reset-password/',
      { token, password },
      from(network),
    )
    expect(reset.status).toBe(204)
    expect((await signIn({ ...ann, password }, network)).status).toBe(200)
  })

  test('is named to the owner in a mail, after a sign-in that follows ten failures', async () => {
    const letters = () =>
      server.testDatabase
        .db('mails')
        .where({ user_id: ann.id, letter: 'sign_in_after_failures' })
        .select('data')
    const { device } = (await signIn(ann, someAddress())).body
    await statuses(9, () => guess(ann, someAddress()))
    await signIn(ann, someAddress(), device)
    expect(await letters()).toEqual([])
    await statuses(10, () => guess(ann, someAddress()))
    await signIn(ann, someAddress(), device)
    expect(await letters()).toEqual([{ data: { failures: '10', device: expect.any(String) } }])
    await signIn(ann, someAddress(), device)
    expect(await letters()).toHaveLength(1)
  })
})

type Named = Pick<Person, 'username'>

const guess = (account: Named, address: string, marks?: string) =>
  signIn({ ...account, password: WRONG }, address, marks)

function signIn(
  { username, password }: Named & { password: string },
  address: string,
  marks = '',
): Promise<Reply> {
  const headers = { ...from(address).headers, ...(marks && { [DEVICE_HEADER]: marks }) }
  return server.call('POST', '/api/token/', { username, password }, { headers })
}

async function statuses(count: number, attempt: () => Promise<Reply>): Promise<number[]> {
  const all = []
  for (let i = 0; i < count; i++) all.push((await attempt()).status)
  return all
}

/** Guesses so often that strangers have to wait for a minute. */
async function besiege(account: Named, network?: string): Promise<void> {
  for (let i = 0; i < 17; i++) {
    await pass(60)
    await guess(account, network ?? someAddress())
  }
}

const waitOf = ({ headers }: Reply) => Number(headers.get('retry-after'))

/** So many seconds pass for the counts, which go by the clock of the database. */
async function pass(seconds: number): Promise<void> {
  await server.testDatabase.db('rate_limits').decrement('expire', seconds * 1000)
}

const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })

const someAddress = () =>
  `10.${Array.from({ length: 3 }, () => Math.floor(Math.random() * 256)).join('.')}`

const newName = () => `p${randomUUID().slice(0, 13)}`
