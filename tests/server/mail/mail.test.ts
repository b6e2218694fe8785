import { randomUUID } from 'node:crypto'
import { afterEach, describe, expect } from 'vitest'
import { addJob } from '../../../server/jobs/queue.ts'
import { createMailer } from '../../../server/mail/mailer.ts'
import { SEND_MAIL } from '../../../server/mail/outbox.ts'
import { readConfig } from '../../../server/runtime/config.ts'
import { mailing as test } from '../../support/fixtures.ts'
import { idle, retryNow } from '../../support/jobs.ts'
import { type Mailbox, mailingTo } from '../../support/mailbox.ts'
import { startServer, type TestServer } from '../../support/server.ts'

let mailbox: Mailbox
let server: TestServer
test.beforeAll(({ mailbox: opened, server: started }) => {
  mailbox = opened
  server = started
})
afterEach(() => {
  mailbox.refuse = undefined
})

test.each([
  ['https://tasks.example.com', 'tasks.example.com'],
  ['http://tasks.example.com:8080', 'tasks.example.com'],
  ['http://localhost:3000', 'tasktide.example'],
  ['http://192.0.2.7', 'tasktide.example'],
  ['http://[2001:db8::1]', 'tasktide.example'],
])('from %s the mail server is greeted as %s', async (PUBLIC_URL, name) => {
  const mailer = createMailer(readConfig({ ...mailingTo(mailbox), PUBLIC_URL }))
  const to = `${randomUUID()}@example.com`
  await mailer.send({ id: randomUUID(), to, subject: 'a', text: 'b', html: 'c', language: 'en' })
  await mailbox.next(to)
  mailer.close()
  expect(mailbox.greetings.at(-1)).toBe(name)
})

describe('registering', () => {
  test('sends a mail, in text and HTML, that asks to confirm the address', async () => {
    const ann = await server.person()
    const { mail, recipients } = await mailbox.next(`${ann.username}@example.com`)
    expect(recipients).toEqual([`${ann.username}@example.com`])
    expect(mail.subject).toBe('Confirm your email address')
    expect(mail.from?.value).toEqual([{ name: 'Tasktide', address: 'tasks@tasktide.example' }])
    const link = /http:\/\/tasktide\.example\/#confirm_email=[\w-]{43}/
    expect(mail.text).toMatch(link)
    expect(mail.html).toMatch(link)
    expect(mail.headers.get('auto-submitted')).toBe('auto-generated')
  })

  test('stores no token in the database, neither with the mail nor in the job', async () => {
    const ann = await server.person()
    const { mail } = await mailbox.next(`${ann.username}@example.com`)
    const token = /confirm_email=([\w-]+)/.exec(mail.text!)![1]!
    const { db } = server.testDatabase
    const links = await db('account_links').where({ user_id: ann.id })
    const mails = await db('mails').where({ user_id: ann.id })
    expect(mails).toMatchObject([{ outcome: 'sent', letter: 'confirm_email' }])
    expect(JSON.stringify([links, mails])).not.toContain(token)
    expect(JSON.stringify(server.logged)).not.toContain(token)
  })

  test('that fails leaves no mail', async () => {
    const ann = await server.person()
    await mailbox.next(`${ann.username}@example.com`)
    const before = await server.testDatabase.db('mails').count()
    const again = { username: ann.username, email: `x${ann.username}@example.com` }
    const refused = await server.call('POST', '/api/register/', {
      ...again,
      password: ann.password,
    })
    expect(refused.status).toBe(400)
    expect(await server.testDatabase.db('mails').count()).toEqual(before)
  })
})

describe('a mail', () => {
  test('that the mail server cannot accept now is sent later', async () => {
    const name = `p${randomUUID().slice(0, 8)}`
    let refusals = 0
    mailbox.refuse = (recipient) =>
      recipient.startsWith(name) && refusals++ === 0
        ? Object.assign(new Error('try later'), { responseCode: 451 })
        : undefined
    await server.person(name)
    const { recipients } = await mailbox.next(`${name}@example.com`)
    expect(recipients).toEqual([`${name}@example.com`])
    expect(refusals).toBe(2)
  })

  test('that is rejected permanently is not sent again', async () => {
    const name = `p${randomUUID().slice(0, 8)}`
    let refusals = 0
    mailbox.refuse = (recipient) => {
      if (!recipient.startsWith(name)) return undefined
      refusals++
      return Object.assign(new Error('no such mailbox'), { responseCode: 550 })
    }
    const { id } = await server.person(name)
    const { db } = server.testDatabase
    await expect
      .poll(() => db('mails').where({ user_id: id }).first('outcome'), { timeout: 5_000 })
      .toEqual({ outcome: 'refused' })
    expect(refusals).toBe(1)
  })

  test('waits for a worker with the key of its link, while there is another one', async () => {
    const web = await startServer()
    const { url, db } = web.testDatabase
    try {
      const ann = await web.person()
      const other = await startServer({
        ...mailingTo(mailbox),
        DATABASE_URL: url,
        SECRET_KEY: 'the key of another deployment: 0123456789',
      })
      try {
        const failures = () => other.logged.filter((line) => line.includes('job failed'))
        await expect.poll(failures, { timeout: 10_000 }).not.toEqual([])
        expect(failures()[0]).toContain('SECRET_KEY')
        const mails = db('mails').where({ user_id: ann.id })
        expect(await mails.pluck('outcome')).toEqual([null])
      } finally {
        await other.stop()
      }
      const right = await startServer({ ...mailingTo(mailbox), DATABASE_URL: url })
      try {
        await retryNow(db)
        const { mail } = await mailbox.next(`${ann.username}@example.com`)
        expect(mail.text).toContain('#confirm_email=')
      } finally {
        await right.stop()
      }
    } finally {
      await web.stop()
    }
  })

  test('that two workers process at once is sent by one of them', async () => {
    const name = `p${randomUUID().slice(0, 8)}`
    const isHeld = new Promise<() => void>((held) => {
      mailbox.hold = (at, recipient) =>
        at === 'recipient' && recipient.startsWith(name)
          ? new Promise<void>((release) => held(release))
          : undefined
    })
    const { id: user } = await server.person(name)
    const release = await isHeld
    const { db } = server.testDatabase
    const mail = await db('mails').where({ user_id: user }).first('id')
    // As if the first worker had been taken for dead.
    await addJob(db, SEND_MAIL, mail)
    const waiting = () =>
      db('pg_stat_activity').where({ wait_event_type: 'Lock' }).whereLike('query', '%"mails"%')
    await expect.poll(waiting, { timeout: 5_000 }).toHaveLength(1)
    mailbox.hold = undefined
    release()
    await mailbox.next(`${name}@example.com`)
    await idle(db)
    const came = mailbox.delivered.filter(({ recipients }) => recipients[0]!.startsWith(name))
    expect(came).toHaveLength(1)
  })
})
