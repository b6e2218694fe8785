import { describe, expect, test } from 'vitest'
import { delayAfter } from '../../client-sdk/runtime/back-off.ts'
import { ClientError } from '../../client-sdk/runtime/client-error.ts'
import { Clock } from '../../client-sdk/runtime/clock.ts'
import type { Contact } from '../../client-sdk/session/connection.ts'
import { BatchSize } from '../../client-sdk/sync/batch-size.ts'
import { type Situation, type SyncStatus, statusOf } from '../../client-sdk/sync/sync-status.ts'
import { outranks } from '../../client-sdk/tabs/leader.ts'
import { follow } from '../../protocol/follow.ts'

const documents = { tasks: [] }

describe('a frame', () => {
  test.each([
    ['before ready', undefined, { prev: 3, seq: 5, documents }, { cursor: 5, isGap: true }],
    ['that goes on', 3, { prev: 3, seq: 5, documents }, { cursor: 5, isGap: false }],
    ['that overlaps', 4, { prev: 3, seq: 5, documents }, { cursor: 5, isGap: false }],
    ['that leaves a hole', 2, { prev: 3, seq: 5, documents }, { cursor: 5, isGap: true }],
    ['without documents', 3, { prev: 3, seq: 5 }, { cursor: 5, isGap: true }],
    ['heard before', 5, { prev: 3, seq: 5, documents }, { cursor: 5, isGap: false }],
    ['heard long before', 9, { prev: 3, seq: 5 }, { cursor: 9, isGap: false }],
  ])('%s', (_what, cursor, frame, expected) => {
    expect(follow(cursor, frame)).toEqual(expected)
  })
})

describe('the status', () => {
  const good: Situation = {
    isSignedIn: true,
    isOutdated: false,
    isPaused: false,
    contact: 'good',
    isComplete: true,
    isBehind: false,
    pending: 0,
    fault: undefined,
    stuck: undefined,
  }
  const fault = new ClientError('storage_full', 'This device has no room left.')
  test.each<[SyncStatus, Partial<Situation>]>([
    ['synced', {}],
    ['syncing', { pending: 1 }],
    ['syncing', { isComplete: false }],
    ['connecting', { contact: 'none', isComplete: false }],
    ['offline', { contact: 'lost', pending: 1 }],
    ['offline', { isPaused: true }],
    ['error', { contact: 'refused' }],
    ['error', { fault }],
    ['error', { fault, contact: 'lost' }],
    ['error', { stuck: fault, pending: 1 }],
    ['offline', { stuck: fault, contact: 'lost' }],
    ['outdated', { fault, isOutdated: true }],
    ['outdated', { isOutdated: true, contact: 'lost', isPaused: true }],
    ['signed_out', { isSignedIn: false, isOutdated: true, contact: 'lost' }],
  ])('is %s with %j', (status, situation) => {
    expect(statusOf({ ...good, ...situation }, 'syncing')).toBe(status)
  })

  test.each<[SyncStatus, Partial<Situation>]>([
    ['synced', { isComplete: false }],
    ['syncing', { isComplete: false, isBehind: true }],
    ['syncing', { isComplete: false, pending: 1 }],
    ['offline', { isComplete: false, contact: 'lost' }],
  ])('stays or becomes %s after synced with %j', (status, situation) => {
    expect(statusOf({ ...good, ...situation }, 'synced')).toBe(status)
  })

  test('is synced in only one situation', () => {
    const contacts: Contact[] = ['none', 'good', 'lost', 'refused']
    const flags = [true, false]
    const synced = flags.flatMap((isSignedIn) =>
      flags.flatMap((isOutdated) =>
        flags.flatMap((isPaused) =>
          flags.flatMap((isComplete) =>
            contacts.flatMap((contact) =>
              [undefined, fault]
                .flatMap((fault) => [0, 1].map((pending) => ({ fault, stuck: undefined, pending })))
                .map((rest) => ({
                  isSignedIn,
                  isOutdated,
                  isPaused,
                  isComplete,
                  isBehind: !isComplete,
                  contact,
                  ...rest,
                }))
                .filter((situation) => statusOf(situation, 'synced') === 'synced'),
            ),
          ),
        ),
      ),
    )
    expect(synced).toEqual([good])
  })
})

describe('the pause after a failure', () => {
  test.each([
    [1, 0, 500],
    [1, 1, 1_000],
    [2, 1, 2_000],
    [6, 1, 32_000],
    [7, 1, 60_000],
    [500, 1, 60_000],
    [500, 0, 30_000],
  ])('number %i, at random %f, is %i ms', (failures, random, expected) => {
    expect(delayAfter(failures, () => random)).toBe(expected)
  })
})

describe('the size of a batch', () => {
  const SECOND = 1_000
  test.each<[string, (size: BatchSize) => void, number]>([
    ['is at first the most that may be', () => {}, 200],
    ['is a quarter after a time-out', (size) => size.timedOut(), 50],
    ['is a quarter of what was sent', (size) => size.timedOut(20), 5],
    ['is never nothing', (size) => [1, 2, 3, 4, 5, 6].forEach(() => void size.timedOut()), 1],
    [
      'doubles after a quick success',
      (size) => {
        size.timedOut()
        size.succeeded(50, SECOND)
      },
      100,
    ],
    [
      'stays after a slow success, or it would time out again',
      (size) => {
        size.timedOut()
        size.succeeded(50, 40 * SECOND)
      },
      50,
    ],
    [
      'stays after a smaller batch, which shows nothing',
      (size) => {
        size.timedOut()
        size.succeeded(3, SECOND)
      },
      50,
    ],
    ['does not grow beyond the most', (size) => size.succeeded(200, SECOND), 200],
  ])('%s', (_what, happen, expected) => {
    const size = new BatchSize(200, 60 * SECOND)
    happen(size)
    expect(size.current).toBe(expected)
  })
})

describe('the clock of a device', () => {
  const noon = Date.parse('2026-12-01T12:00:00.000Z')
  const hour = 3_600_000
  test.each([
    ['right', 0, 100, 0],
    ['at the end of a second', 999, 100, 0],
    ['a little ahead', 1_900, 100, 0],
    ['ahead', 3_200, 100, -3_300],
    ['an hour ahead', hour, 100, -hour - 100],
    ['an hour behind', -hour, 100, hour - 100],
    ['behind', -3_200, 100, 3_100],
    ['right, with a slow answer', 0, 30_000, 0],
    ['a little behind, with a slow answer', -5_000, 30_000, 0],
    ['an hour ahead, with a slow answer', hour, 30_000, -hour - 30_000],
  ])('%s is corrected', (_what, ahead, took, offset) => {
    let time = noon + ahead
    const clock = new Clock(() => time)
    const askedAt = clock.device()
    time += took
    clock.learn(new Date(noon).toUTCString(), askedAt)
    expect(clock.offset).toBe(offset)
    expect(clock.now()).toBe(time + offset)
  })

  test('is not ahead of the server once it is corrected', () => {
    const clock = new Clock(() => noon + hour)
    for (const wroteAt of [noon, noon + 1, noon + 999]) {
      clock.learn(new Date(wroteAt).toUTCString(), noon + hour)
      expect(clock.now()).toBeLessThanOrEqual(wroteAt)
    }
  })

  test('is estimated better after a quicker response', () => {
    const clock = new Clock(() => noon + hour)
    clock.learn(new Date(noon).toUTCString(), noon + hour - 30_000)
    clock.learn(new Date(noon).toUTCString(), noon + hour)
    expect(clock.now()).toBe(noon)
  })

  test.each([
    ['the clock went on', hour + 60_000, -hour],
    ['the clock was set back since', 60_000, 0],
  ])('is remembered after a restart, if %s', (_what, ahead, offset) => {
    const before = new Clock(() => noon + hour)
    let kept = { offset: 0, at: 0 }
    before.onOffset = (offset) => {
      kept = offset
    }
    before.learn(new Date(noon).toUTCString(), noon + hour)
    const after = new Clock(() => noon + ahead)
    after.restore(kept)
    expect(after.offset).toBe(offset)
  })

  test('may be corrected by the user, and is not changed by a response without a date', () => {
    let time = noon + hour
    const clock = new Clock(() => time)
    clock.learn(new Date(noon).toUTCString(), time)
    clock.learn(null, time)
    expect(clock.now()).toBe(noon)
    time = noon + 400
    clock.learn(new Date(noon).toUTCString(), time)
    expect(clock.now()).toBe(time)
  })
})

test.each([
  [
    { id: 'a', visible: true, since: 1 },
    { id: 'b', visible: false, since: 2 },
  ],
  [
    { id: 'a', visible: true, since: 2 },
    { id: 'b', visible: true, since: 1 },
  ],
  [
    { id: 'a', visible: false, since: 2 },
    { id: 'b', visible: false, since: 1 },
  ],
  [
    { id: 'b', visible: true, since: 1 },
    { id: 'a', visible: true, since: 1 },
  ],
])('%j leads before %j', (first, second) => {
  expect(outranks(first, second)).toBe(true)
  expect(outranks(second, first)).toBe(false)
})
