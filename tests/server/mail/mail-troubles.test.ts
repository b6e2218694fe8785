import { afterEach, describe, expect } from 'vitest'
import { test as plain } from '../../support/fixtures.ts'
import { type Mailbox, mailingTo } from '../../support/mailbox.ts'
import type { TestServer } from '../../support/server.ts'

const test = plain.extend('environment', { scope: 'file' }, ({ mailbox }) => ({
  ...mailingTo(mailbox),
  SMTP_CONNECTIONS: '1',
  WORKER_CONCURRENCY: '1',
}))

let mailbox: Mailbox
let server: TestServer
test.beforeAll(({ mailbox: opened, server: started }) => {
  mailbox = opened
  server = started
})
afterEach(() => {
  mailbox.refuse = undefined
  mailbox.refuseSender = undefined
  mailbox.hold = undefined
})

describe('a mail server that refuses', () => {
  test.each([
    ['for good', 'a mailbox that is not there', 550, '5.1.1 no such user here'],
    ['for good', 'a mailbox that is closed', 550, '5.2.1 disabled'],
    ['for good', 'a mailbox, without saying more', 550, 'no'],
    ['for now', 'because our quota is full', 550, '5.4.5 Daily user sending quota exceeded'],
    ['for now', 'because it does not trust us yet', 554, '5.7.1 not authorised'],
    ['for now', 'because it is busy', 451, '4.3.0 later'],
    ['for now', 'with a code of its own', 571, 'blocked'],
  ])('%s: %s', async (how, _why, responseCode, text) => {
    mailbox.refuse = () => Object.assign(new Error(text), { responseCode })
    await expectOutcome(how)
  })

  test.each([
    [550, '5.4.5 Daily user sending quota exceeded'],
    [553, '5.1.8 sender address rejected'],
  ])(
    'a rejected sender is retried, because it is a configuration error: %i %s',
    async (responseCode, text) => {
      mailbox.refuseSender = () => Object.assign(new Error(text), { responseCode })
      await expectOutcome('for now')
    },
  )

  test('is quoted nowhere in the log', async () => {
    const quoted = '5.7.1 https://evil.example/#reset_password=secret is blocked'
    mailbox.refuse = () => Object.assign(new Error(quoted), { responseCode: 554 })
    const ann = await expectOutcome('for now')
    const logged = server.logged.join('')
    expect(logged).toContain('554')
    expect(logged).not.toContain('reset_password=secret')
    expect(logged).not.toContain(`${ann.username}@example.com`)
  })
})

test('a hanging mail server does not block other jobs', async () => {
  const bob = await server.person()
  await mailbox.next(`${bob.username}@example.com`)
  let release = () => {}
  const isHeld = new Promise<void>((held) => {
    mailbox.hold = () => {
      held()
      return new Promise<void>((open) => {
        release = open
      })
    }
  })
  await server.person()
  await isHeld
  await server.person()
  expect((await bob.call('POST', '/api/account/delete/', bob)).status).toBe(400)
  const { password } = bob
  expect((await bob.call('POST', '/api/account/delete/', { password })).status).toBe(202)
  const { db } = server.testDatabase
  await expect.poll(() => db('users').where({ id: bob.id }), { timeout: 10_000 }).toEqual([])
  mailbox.hold = undefined
  release()
})

/** Registers somebody, whose first mail meets this. */
async function expectOutcome(how: string) {
  const person = await server.person()
  const { db } = server.testDatabase
  const mail = await db('mails').where({ user_id: person.id }).first('id')
  const fate = async () => {
    const { outcome } = await db('mails').where(mail).first('outcome')
    const { rows } = await db.raw(
      `select attempts from graphile_worker._private_jobs where payload->>'id' = ? and locked_at is null`,
      [mail.id],
    )
    return { outcome, attempts: rows[0]?.attempts }
  }
  await expect
    .poll(fate, { timeout: 10_000 })
    .toEqual(
      how === 'for good'
        ? { outcome: 'refused', attempts: undefined }
        : { outcome: null, attempts: 1 },
    )
  // What is tried again is not to meet the refusal of another test.
  await db.raw(`delete from graphile_worker._private_jobs where payload->>'id' = ?`, [mail.id])
  return person
}
