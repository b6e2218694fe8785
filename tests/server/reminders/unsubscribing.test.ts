import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createUnsubscribeTokens } from '../../../server/reminders/unsubscribing.ts'
import { runJob } from '../../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../../support/mailbox.ts'
import { type Person, SECRET, startServer, type TestServer } from '../../support/server.ts'

let mailbox: Mailbox
let server: TestServer
beforeAll(async () => {
  mailbox = await openMailbox()
  server = await startServer(mailingTo(mailbox))
})
afterAll(async () => {
  await server.stop()
  await mailbox.close()
})

/** Somebody with a confirmed address who gets a digest each morning. */
async function reader(): Promise<Person & { address: string }> {
  const person = await server.person()
  const address = `${person.username}@example.com`
  await mailbox.next(address)
  const email_verified_at = server.clock.now()
  await server.testDatabase.db('users').where({ id: person.id }).update({ email_verified_at })
  await person.call('PATCH', '/api/profile/', { digest_at: '07:30' })
  return { ...person, address }
}

/** Does what a mail program does when its reader presses the button (RFC 8058, 3.2). */
async function pressButton(header: string, post: string) {
  expect(post).toBe('List-Unsubscribe=One-Click')
  const { pathname, search, origin } = new URL(/^<(.*)>$/.exec(header)![1]!)
  expect(origin).toBe('http://tasktide.example')
  return server.call('POST', pathname + search, undefined, {
    raw: post,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
}

const mailsOf = async ({ call }: Person) => {
  const { body } = await call('GET', '/api/profile/')
  return { email_notifications: body.email_notifications, digest_at: body.digest_at }
}

const headerOf = (raw: string, name: string) =>
  new RegExp(`^${name}: ((?:.*)(?:\r\n[ \t].*)*)`, 'im').exec(raw)?.[1]?.replaceAll(/\r\n\s+/g, '')

test('a reminder is ended by the button of the mail program, without signing in', async () => {
  const ann = await reader()
  const remind_at = new Date(server.clock.now().getTime() + 60_000).toISOString()
  await ann.call('POST', '/api/tasks/', { title: 'Ferry', remind_at })
  server.clock.advance(60_000)
  await runJob(server.testDatabase.db, 'send_reminders')
  const { raw, mail } = await mailbox.next(ann.address)
  expect(mail.text).toMatch(/Stop reminders: http:\/\/tasktide\.example\/#unsubscribe=reminder\./)
  const header = headerOf(raw, 'List-Unsubscribe')!
  const reply = await pressButton(header, headerOf(raw, 'List-Unsubscribe-Post')!)
  expect(reply.status, reply.text).toBe(204)
  expect(await mailsOf(ann)).toEqual({ email_notifications: false, digest_at: '07:30' })
})

describe('a token', () => {
  const tokens = createUnsubscribeTokens([SECRET])
  const post = (token: string) =>
    server.call('POST', `/api/unsubscribe/?token=${encodeURIComponent(token)}`)

  test('of a digest ends digests and leaves reminders, and can be used again', async () => {
    const ann = await reader()
    const token = tokens.tokenFor(ann.id, 'digest')
    expect((await post(token)).status).toBe(204)
    expect((await post(token)).status).toBe(204)
    expect(await mailsOf(ann)).toEqual({ email_notifications: true, digest_at: null })
  })

  test('is valid after SECRET_KEY was replaced, while the former one is known', () => {
    const token = tokens.tokenFor('0190a1de-0000-7000-8000-000000000000', 'digest')
    expect(createUnsubscribeTokens(['another key', SECRET]).read(token).letter).toBe('digest')
    expect(() => createUnsubscribeTokens(['another key']).read(token)).toThrow()
  })

  test.each<[string, (user: string) => string]>([
    ['of another person', (user) => tokens.tokenFor(user, 'digest').replace(/.-/, '0-')],
    ['for something else', (user) => tokens.tokenFor(user, 'digest').replace('digest', 'reminder')],
    ['without a signature', (user) => `digest.${user}.`],
    ['that is empty', () => ''],
  ])('%s ends nothing', async (_, tokenOf) => {
    const ann = await reader()
    const reply = await post(tokenOf(ann.id))
    expect(reply.body).toMatchObject({ status: 400, code: 'link_not_valid' })
    expect(await mailsOf(ann)).toEqual({ email_notifications: true, digest_at: '07:30' })
  })

  test('in a GET ends nothing: it leads to a page that asks', async () => {
    const ann = await reader()
    const token = tokens.tokenFor(ann.id, 'digest')
    const reply = await server.call('GET', `/api/unsubscribe/?token=${token}`)
    expect(reply.status).toBe(303)
    expect(reply.headers.get('location')).toBe(`http://tasktide.example/#unsubscribe=${token}`)
    expect(await mailsOf(ann)).toEqual({ email_notifications: true, digest_at: '07:30' })
  })
})
