import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createPasswords } from '../../server/accounts/passwords.ts'
import { callerTo } from '../support/server.ts'
import { openArena } from './arena.ts'

const ADDRESSES = 10
const AT_ONCE = 4
const PEOPLE = 12
const TRIES = 3

test('wrong passwords from ten addresses keep few people from signing in', async () => {
  const arena = await openArena({ TRUST_PROXY: '1' })
  const people = await arena.attackers(PEOPLE)
  // As expensive as in production: they register with cheap hashes.
  const hash = await createPasswords().hash(people[0]!.password)
  await arena.database.db('users').update({ password_hash: hash })
  const signIn = (address: string, username: string, password: string) =>
    callerTo(arena.url, { 'x-forwarded-for': address })('POST', '/api/token/', {
      username,
      password,
    })
  let isOver = false
  const guess = async (address: string) => {
    while (!isOver) {
      const { status } = await signIn(address, 'nobody', 'a ferry to Porto')
      expect([401, 429]).toContain(status)
      if (status === 429) await pause(200)
    }
  }
  let signedIn = 0
  await arena.whileOthersWork(async () => {
    const guesses = Array.from({ length: ADDRESSES * AT_ONCE }, (_, i) =>
      guess(`198.51.100.${i % ADDRESSES}`),
    )
    for (const [i, { username, password }] of people.entries()) {
      for (let tries = 0; tries < TRIES; tries++) {
        const { status, headers } = await signIn(`203.0.113.${i}`, username, password)
        if (status === 200) {
          signedIn++
          break
        }
        expect(status).toBe(429)
        await pause(Number(headers.get('retry-after')) * 1_000)
      }
    }
    isOver = true
    await Promise.all(guesses)
  })
  expect(signedIn).toBeGreaterThanOrEqual(PEOPLE - 2)
})
