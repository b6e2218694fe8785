import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NameKind, userNamed } from '../../../server/accounts/names.ts'
import type { Database } from '../../../server/database/connect.ts'
import { FOR_FORMER_NODES } from '../../../server/database/distribute.ts'
import { createDatabase } from '../../support/database.ts'
import { idle } from '../../support/jobs.ts'
import { tokenByMail } from '../../support/links.ts'
import { type Mailbox, mailingTo, openMailbox } from '../../support/mailbox.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

const PASSWORD = 'a ferry to Lisbon'

// Without the indexes and triggers for nodes of the release before, so that only `names` is unique.
describe('a name', () => {
  let mailbox: Mailbox
  let server: TestServer
  beforeAll(async () => {
    mailbox = await openMailbox()
    server = await startServer(mailingTo(mailbox))
    for (const statement of FOR_FORMER_NODES) await server.testDatabase.db.raw(statement)
  })
  afterAll(async () => {
    await server.stop()
    await mailbox.close()
  })

  const register = (username: string, email: string) =>
    server.call('POST', '/api/register/', { username, email, password: PASSWORD })
  const named = (kind: NameKind, name: string) => userNamed(server.testDatabase.db, kind, name)
  const addressOf = ({ username }: Person) => `${username}@example.com`

  async function changeAddress(person: Person, email: string): Promise<number> {
    const token = await tokenByMail(
      server,
      { id: person.id, username: email.split('@')[0]! },
      'confirm_email',
    )
    return (await server.call('POST', '/api/account/confirm-email/', { token })).status
  }

  test.each<[string, NameKind, (i: number) => [username: string, email: string]]>([
    ['username', 'username', (i) => [i % 2 ? 'Zoe_1' : 'zOE_1', `zoe${i}@example.com`]],
    ['address', 'email', (i) => [`zoe_2_${i}`, i % 2 ? 'Zoe.2@example.com' : 'zoe.2@EXAMPLE.com']],
  ])('is given to one of many who register with the same %s, in any case', async (_, field, of) => {
    const replies = await Promise.all(Array.from({ length: 10 }, (_, i) => register(...of(i))))
    const refused = replies.filter(({ status }) => status !== 201)
    expect(refused).toHaveLength(9)
    for (const { status, body } of refused) {
      expect([status, body.code]).toEqual([400, 'invalid'])
      expect(Object.keys(body.errors)).toEqual([field])
    }
    const given = replies.find(({ status }) => status === 201)!
    expect(await named(field, of(0)[field === 'username' ? 0 : 1])).toBe(given.body.id)
  })

  test('that is refused takes no other name with it', async () => {
    const ann = await server.person()
    const name = newName()
    expect((await register(name, addressOf(ann))).status).toBe(400)
    expect(await named('username', name)).toBeUndefined()
    expect((await register(name, `${name}@example.com`)).status).toBe(201)
  })

  test('of an address is free when the account has another one', async () => {
    const ann = await server.person()
    const email = `${newName()}@example.com`
    expect(await changeAddress(ann, email)).toBe(204)
    expect(await named('email', email)).toBe(ann.id)
    expect(await named('email', addressOf(ann))).toBeUndefined()
    expect((await register(newName(), addressOf(ann).toUpperCase())).status).toBe(201)
    expect(await changeAddress(ann, addressOf(ann)), 'somebody has it by now').toBe(400)
    expect(await named('email', email)).toBe(ann.id)
  })

  test('stays when only its case changes', async () => {
    const ann = await server.person()
    const email = `${ann.username.toUpperCase()}@example.com`
    expect(await changeAddress(ann, email)).toBe(204)
    expect(await named('email', email)).toBe(ann.id)
    expect((await ann.call('GET', '/api/account/')).body.email).toBe(email)
  })

  test('of two accounts that swap addresses goes to neither', async () => {
    const [ann, bob] = [await server.person(), await server.person()]
    const statuses = await Promise.all([
      changeAddress(ann, addressOf(bob)),
      changeAddress(bob, addressOf(ann)),
    ])
    expect(statuses).toEqual([400, 400])
    expect(await named('email', addressOf(ann))).toBe(ann.id)
    expect(await named('email', addressOf(bob))).toBe(bob.id)
  })

  test('is free again when the account is erased', async () => {
    const ann = await server.person()
    const { db } = server.testDatabase
    expect(await db('names').where({ user_id: ann.id })).toHaveLength(3) // with its link
    expect(
      (await ann.call('POST', '/api/account/delete/', { password: ann.password })).status,
    ).toBe(202)
    await idle(db)
    await expect.poll(() => db('names').where({ user_id: ann.id }), { timeout: 10_000 }).toEqual([])
    expect((await register(ann.username, addressOf(ann))).status).toBe(201)
  })
})

describe('a name that SQL or a node of the release before writes', () => {
  let db: Database
  let drop: () => Promise<void>
  beforeAll(async () => {
    ;({ db, drop } = await createDatabase())
  })
  afterAll(() => drop())

  async function insert(username = newName(), email = `${username}@example.com`): Promise<string> {
    const id = randomUUID()
    await db('users').insert({ id, username, email, password_hash: '' })
    return id
  }

  test('is known and unique', async () => {
    const name = newName()
    const id = await insert(name.toUpperCase())
    expect(await userNamed(db, 'username', name)).toBe(id)
    expect(await userNamed(db, 'email', `${name}@example.com`)).toBe(id)
    await expect(insert(name, 'b@example.com')).rejects.toMatchObject({ code: '23505' })
    await expect(insert(newName(), `${name}@Example.com`)).rejects.toMatchObject({ code: '23505' })
  })

  test('follows its changes, and goes with the account', async () => {
    const [former, name] = [newName(), newName()]
    const id = await insert(former)
    await db('users')
      .where({ id })
      .update({ username: name, email: `${name}@example.com` })
    expect(await userNamed(db, 'username', former)).toBeUndefined()
    expect(await userNamed(db, 'email', `${former}@example.com`)).toBeUndefined()
    expect(await userNamed(db, 'username', name)).toBe(id)
    expect(await userNamed(db, 'email', `${name}@example.com`)).toBe(id)
    await db('users').where({ id }).delete()
    expect(await db('names').where({ user_id: id })).toEqual([])
  })

  test('is that of a link too', async () => {
    const user_id = await insert()
    const token_hash = randomBytes(32)
    const link = { id: randomUUID(), user_id, purpose: 'confirm_email', email: 'a@example.com' }
    const times = { created_at: new Date(), expires_at: new Date() }
    await db('account_links').insert({ ...link, token_hash, ...times })
    const known = () => userNamed(db, 'link', token_hash.toString('hex'))
    expect(await known()).toBe(user_id)
    await db('account_links').where({ user_id }).delete()
    expect(await known()).toBeUndefined()
  })
})

const newName = () => `n_${randomUUID().slice(0, 8)}`
