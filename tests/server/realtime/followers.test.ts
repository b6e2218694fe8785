import { beforeEach, expect, test } from 'vitest'
import { createFollowers } from '../../../server/realtime/followers.ts'
import type { Feed } from '../../../server/sync/store.ts'

const PEOPLE = Array.from({ length: 1_000 }, (_, i) => `user ${i}`)
const log = { warn: () => {} } as never

/** How far the feed of each user is. */
let feeds: Map<string, number>
/** How many heads were asked for at once, in order. */
let asked: number[]
/** Whose feed was read. */
let read: string[]
/** Reads that have begun and wait to be answered. */
let underWay: (() => void)[]
/** The next question for heads waits for it. */
let held: Promise<void> | undefined
let lost: number
let followers: ReturnType<typeof createFollowers>
beforeEach(async () => {
  feeds = new Map(PEOPLE.map((user) => [user, 1]))
  underWay = []
  lost = 0
  followers = createFollowers(
    {
      async heads(users) {
        asked.push(users.length)
        const heads = new Map(users.map((user) => [user, headOf(user)]))
        await held
        return heads
      },
      async frame(user) {
        read.push(user)
        await new Promise<void>((answer) => underWay.push(answer))
        return { head: headOf(user) }
      },
    },
    log,
    { lostHint: () => lost++ },
  )
  asked = []
  read = []
  for (const user of PEOPLE) await followers.join(user, { frame() {}, end() {} })
  asked = []
})

const headOf = (user: string): Feed => ({
  epoch: '',
  seq: feeds.get(user)!,
  branches: {},
  horizons: {},
})
const answerAll = () => {
  for (const answer of underWay.splice(0)) answer()
}
const turns = () => new Promise((resolve) => setImmediate(resolve))

test('after a gap, heads are asked for in batches, and only the feeds that went on are read', async () => {
  const late = ['user 7', 'user 500', 'user 999']
  for (const user of late) feeds.set(user, 2)
  const caughtUp = followers.gap()
  for (let i = 0; i < 20; i++) {
    await turns()
    answerAll()
  }
  await caughtUp
  expect(asked).toEqual([200, 200, 200, 200, 200])
  expect(read).toEqual(late)
})

test('however many feeds went on meanwhile, so many are read at once and no more', async () => {
  for (const user of PEOPLE) feeds.set(user, 2)
  const caughtUp = followers.gap()
  for (let batch = 1; batch <= 5; batch++) {
    await turns()
    expect(underWay).toHaveLength(200)
    answerAll()
    await turns()
  }
  await caughtUp
  expect(read).toHaveLength(PEOPLE.length)
})

test('a gap that ends while heads are asked for is followed by another look', async () => {
  let answer = () => {}
  held = new Promise((resolve) => {
    answer = resolve
  })
  void followers.sweep()
  feeds.set('user 3', 2)
  const caughtUp = followers.gap()
  answer()
  held = undefined
  for (let i = 0; i < 20; i++) {
    await turns()
    answerAll()
  }
  await caughtUp
  expect(read).toEqual(['user 3'])
})

test('a change that only looking has found is counted; one whose hint is late is not', async () => {
  for (const user of ['user 1', 'user 2']) feeds.set(user, 2)
  const sweeps = async () => {
    const swept = followers.sweep()
    for (let i = 0; i < 20; i++) {
      await turns()
      answerAll()
    }
    await swept
  }
  await sweeps()
  expect(read).toEqual(['user 1', 'user 2'])
  followers.changed('user 2', 0)
  expect(lost).toBe(0)
  await sweeps()
  await sweeps()
  expect(lost).toBe(1)
})

test('a hint that comes as the last read ends is not passed over', async () => {
  const frames: number[] = []
  await followers.join('user 5', { frame: ({ seq }) => void frames.push(seq), end() {} })
  let seq = 1
  const change = () => {
    feeds.set('user 5', ++seq)
    followers.changed('user 5')
  }
  for (let steps = 0; steps < 12; steps++) {
    change()
    await turns()
    answerAll()
    // Somewhere in here the read comes to its end.
    for (let i = 0; i < steps; i++) await undefined
    change()
    for (let i = 0; i < 3; i++) {
      await turns()
      answerAll()
    }
    await turns()
    expect(frames.at(-1), `after ${steps} steps`).toBe(seq)
  }
})
