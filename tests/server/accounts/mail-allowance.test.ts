import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { mailboxOf } from '../../../server/accounts/mail-allowance.ts'
import { mailing as test } from '../../support/fixtures.ts'
import { idle } from '../../support/jobs.ts'
import type { Mailbox } from '../../support/mailbox.ts'
import type { TestServer } from '../../support/server.ts'

const HOUR_MS = 60 * 60 * 1000
const PASSWORD = 'a ferry to Lisbon'

let mailbox: Mailbox
let server: TestServer
test.beforeAll(({ mailbox: opened, server: started }) => {
  mailbox = opened
  server = started
})

describe('an unconfirmed address gets three mails per hour', () => {
  test('in any spelling', async () => {
    const name = newName()
    const spellings = ['', '+1', '+2', '+3', '+a+b'].map((tag) => `${name}${tag}@example.com`)
    for (const email of [...spellings, spellings[0]!.toUpperCase()]) await register(email)
    expect(await mailsTo(name)).toBe(3)
    server.clock.advance(HOUR_MS)
    await register(`${name}+later@example.com`)
    expect(await mailsTo(name)).toBe(4)
  })

  test('also when accounts are created and deleted in turn', async () => {
    const name = newName()
    for (let round = 0; round < 4; round++) {
      const call = await register(`${name}@example.com`)
      expect((await call('POST', '/api/account/delete/', { password: PASSWORD })).status).toBe(202)
      await idle(server.testDatabase.db)
      await expect
        .poll(() => server.testDatabase.db('users').where({ email: `${name}@example.com` }))
        .toEqual([])
    }
    expect(await mailsTo(name)).toBe(3)
  })

  test('also for concurrent requests', async () => {
    const name = newName()
    const accounts = await Promise.all(
      Array.from({ length: 8 }, () => register(`${newName()}@example.com`)),
    )
    const wanted = { email: `${name}@example.com`, password: PASSWORD }
    const replies = await Promise.all(
      accounts.map((call) => call('POST', '/api/account/change-email/', wanted)),
    )
    expect(replies.map(({ status }) => status).sort()).toEqual([
      ...Array(3).fill(202),
      ...Array(5).fill(429),
    ])
    expect(await mailsTo(name)).toBe(3)
  })

  test('and no further notices about a new account', async () => {
    const name = newName()
    await changePasswords(await register(`${name}@example.com`))
    expect(await mailsTo(name)).toBe(3)
  })

  test('and as many notices about an older account, which strangers cannot use up', async () => {
    const name = newName()
    const call = await register(`${name}@example.com`)
    const created_at = new Date(server.clock.now().getTime() - 25 * HOUR_MS)
    await server.testDatabase.db('users').where({ username: name }).update({ created_at })
    for (let i = 0; i < 3; i++) await register(`${name}+${i}@example.com`)
    await changePasswords(call)
    expect(await mailsTo(name)).toBe(3 + 3)
  })
})

async function changePasswords(call: Awaited<ReturnType<typeof register>>): Promise<void> {
  for (let i = 0; i < 4; i++) {
    const passwords = [PASSWORD, 'another ferry to Faro']
    const [current_password, new_password] = i % 2 === 0 ? passwords : passwords.reverse()
    const change = { current_password, new_password }
    expect((await call('POST', '/api/account/change-password/', change)).status).toBe(204)
  }
}

test.each([
  ['ann.lee+list@Gmail.com', 'annlee@gmail.com'],
  ['a.n.n.l.e.e@googlemail.com', 'annlee@gmail.com'],
  ['ann.lee@example.org', 'ann.lee@example.org'],
  ['Ann+list@Example.org', 'ann@example.org'],
  ['ann+list@outlook.com', 'ann@outlook.com'],
  ['ann-list@yahoo.com', 'ann@yahoo.com'],
  ['+list@example.org', '@example.org'],
])('%s reaches the mailbox %s', (address, mailbox) => {
  expect(mailboxOf(address)).toBe(mailbox)
})

test('a confirmed address is notified of each change', async () => {
  const name = newName()
  const call = await register(`${name}@example.com`)
  await server.testDatabase.db('users').where({ username: name }).update({
    email_verified_at: new Date(),
  })
  for (let i = 0; i < 4; i++) {
    const change = { current_password: PASSWORD, new_password: PASSWORD }
    expect((await call('POST', '/api/account/change-password/', change)).status).toBe(204)
  }
  expect(await mailsTo(name)).toBe(5)
})

test('an account can mail only a few new addresses per day', async () => {
  const call = await register(`${newName()}@example.com`)
  const statuses: number[] = []
  for (let i = 0; i < 6; i++) {
    const wanted = { email: `${newName()}@example.com`, password: PASSWORD }
    statuses.push((await call('POST', '/api/account/change-email/', wanted)).status)
  }
  // The first is that of the registration.
  expect(statuses).toEqual([202, 202, 202, 202, 429, 429])
})

async function register(email: string) {
  const username = /^(\w+)@/.exec(email)?.[1] ?? newName()
  const taken = await server.testDatabase.db('users').where({ username }).first('id')
  const account = { username: taken ? newName() : username, email, password: PASSWORD }
  const made = await server.call('POST', '/api/register/', account)
  if (made.status === 400) expect(made.body.errors).toHaveProperty('email')
  const credentials = { username: account.username, password: PASSWORD }
  const { body } = await server.call('POST', '/api/token/', credentials)
  const headers = { authorization: `Bearer ${body.access}` }
  return (method: string, path: string, sent?: unknown) =>
    server.call(method, path, sent, { headers })
}

const newName = () => `p${randomUUID().replaceAll('-', '').slice(0, 12)}`

/** How many have come, to any spelling of it. */
async function mailsTo(name: string): Promise<number> {
  await idle(server.testDatabase.db)
  return mailbox.delivered.filter(({ recipients }) => recipients[0]!.toLowerCase().startsWith(name))
    .length
}
