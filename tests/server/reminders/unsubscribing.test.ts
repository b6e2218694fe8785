import { describe, expect } from 'vitest'
import { createUnsubscribeTokens } from '../../../server/reminders/unsubscribing.ts'
import { mailing as test } from '../../support/fixtures.ts'
import { runJob } from '../../support/jobs.ts'
import { type Person, SECRET, type TestServer } from '../../support/server.ts'

/** Confirms the address of somebody, who gets a digest each morning from then on. */
async function subscribe({ testDatabase, clock }: TestServer, { id, call }: Person): Promise<void> {
  await testDatabase.db('users').where({ id }).update({ email_verified_at: clock.now() })
  await call('PATCH', '/api/profile/', { digest_at: '07:30' })
}

/** Does what a mail program does when its reader presses the button (RFC 8058, 3.2). */
async function pressButton({ call }: TestServer, header: string, post: string) {
  expect(post).toBe('List-Unsubscribe=One-Click')
  const { pathname, search, origin } = new URL(/^<(.*)>$/.exec(header)![1]!)
  expect(origin).toBe('http://tasktide.example')
  return call('POST', pathname + search, undefined, {
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

test('a reminder is ended by the button of the mail program, without signing in', async ({
  server,
  mailbox,
  ann,
}) => {
  const address = `${ann.username}@example.com`
  await mailbox.next(address)
  await subscribe(server, ann)
  const remind_at = new Date(server.clock.now().getTime() + 60_000).toISOString()
  await ann.call('POST', '/api/tasks/', { title: 'Ferry', remind_at })
  server.clock.advance(60_000)
  await runJob(server.testDatabase.db, 'send_reminders')
  const { raw, mail } = await mailbox.next(address)
  expect(mail.text).toMatch(/Stop reminders: http:\/\/tasktide\.example\/#unsubscribe=reminder\./)
  const header = headerOf(raw, 'List-Unsubscribe')!
  const reply = await pressButton(server, header, headerOf(raw, 'List-Unsubscribe-Post')!)
  expect(reply.status, reply.text).toBe(204)
  expect(await mailsOf(ann)).toEqual({ email_notifications: false, digest_at: '07:30' })
})

describe('a token', () => {
  const tokens = createUnsubscribeTokens([SECRET])
  const post = ({ call }: TestServer, token: string) =>
    call('POST', `/api/unsubscribe/?token=${encodeURIComponent(token)}`)

  test('of a digest ends digests and leaves reminders, and can be used again', async ({
    server,
    ann,
  }) => {
    await subscribe(server, ann)
    const token = tokens.tokenFor(ann.id, 'digest')
    expect((await post(server, token)).status).toBe(204)
    expect((await post(server, token)).status).toBe(204)
    expect(await mailsOf(ann)).toEqual({ email_notifications: true, digest_at: null })
  })

  test('is valid after SECRET_KEY was replaced, while the former one is known', () => {
    const token = tokens.tokenFor('0190a1de-0000-7000-8000-000000000000', 'digest')
    expect(createUnsubscribeTokens(['another key', SECRET]).read(token).letter).toBe('digest')
    expect(() => createUnsubscribeTokens(['another key']).read(token)).toThrow()
  })

  test.for<[string, (user: string) => string]>([
    ['of another person', (user) => tokens.tokenFor(user, 'digest').replace(/.-/, '0-')],
    ['for something else', (user) => tokens.tokenFor(user, 'digest').replace('digest', 'reminder')],
    ['without a signature', (user) => `digest.${user}.`],
    ['that is empty', () => ''],
  ])('%s ends nothing', async ([, tokenOf], { server, ann }) => {
    await subscribe(server, ann)
    const reply = await post(server, tokenOf(ann.id))
    expect(reply.body).toMatchObject({ status: 400, code: 'link_not_valid' })
    expect(await mailsOf(ann)).toEqual({ email_notifications: true, digest_at: '07:30' })
  })

  test('in a GET ends nothing: it leads to a page that asks', async ({ server, ann }) => {
    await subscribe(server, ann)
    const token = tokens.tokenFor(ann.id, 'digest')
    const reply = await server.call('GET', `/api/unsubscribe/?token=${token}`)
    expect(reply.status).toBe(303)
    expect(reply.headers.get('location')).toBe(`http://tasktide.example/#unsubscribe=${token}`)
    expect(await mailsOf(ann)).toEqual({ email_notifications: true, digest_at: '07:30' })
  })
})
