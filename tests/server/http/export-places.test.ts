import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createExportPlaces } from '../../../server/http/accounts/export-places.ts'

const PLACES = 20
const WINDOW_MS = 5_000

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** What places look at in a response: what its client has taken, and whether there is more. */
class Reader extends EventEmitter {
  readonly socket = { bytesWritten: 0, writableLength: 0 }
  writableLength = 1
  destroyed = false

  readonly kilobytesASecond: number

  constructor(kilobytesASecond: number) {
    super()
    this.kilobytesASecond = kilobytesASecond
  }

  destroy() {
    if (this.destroyed) return
    this.destroyed = true
    queueMicrotask(() => this.emit('close'))
  }
}

let places: ReturnType<typeof createExportPlaces>
let readers: Reader[]
beforeEach(() => {
  places = createExportPlaces()
  readers = []
})

async function enter(user: string, kilobytesASecond: number): Promise<Reader> {
  const reader = new Reader(kilobytesASecond)
  await places.enter(user, reader as unknown as ServerResponse)
  readers.push(reader)
  return reader
}

async function pass(milliseconds: number): Promise<void> {
  for (let at = 0; at < milliseconds; at += 1_000) {
    for (const { socket, kilobytesASecond } of readers)
      socket.bytesWritten += kilobytesASecond * 1024
    await vi.advanceTimersByTimeAsync(1_000)
  }
}

async function fill(kilobytesASecond: number): Promise<Reader[]> {
  const all: Reader[] = []
  for (let i = 0; i < PLACES; i++) all.push(await enter(`person ${i}`, kilobytesASecond))
  return all
}

const cut = (all: readonly Reader[]) => all.filter(({ destroyed }) => destroyed).length

test('readers of 4 KB a second keep their places until somebody waits, and then lose one each time', async () => {
  const slow = await fill(4)
  await pass(10 * WINDOW_MS)
  expect(cut(slow)).toBe(0)
  for (let others = 1; others <= 3; others++) {
    await enter(`other ${others}`, 100)
    expect(cut(slow)).toBe(others)
  }
})

test('a reader of 10 KB a second has a minute, and then the slowest makes room', async () => {
  const quick = await fill(10)
  const [slowest] = quick.splice(7, 1)
  await pass(2 * WINDOW_MS)
  const refused = expect(enter('early', 100)).rejects.toMatchObject({ code: 'too_many_requests' })
  await pass(4 * WINDOW_MS)
  await refused
  expect(cut(quick)).toBe(0)
  Object.assign(slowest!, { kilobytesASecond: 8 })
  await pass(7 * WINDOW_MS)
  await enter('late', 100)
  expect([cut([slowest!]), cut(quick)]).toEqual([1, 0])
})

test('a reader who has read all there is so far is not slow', async () => {
  const all = await fill(0)
  for (const reader of all) reader.writableLength = 0
  await pass(2 * WINDOW_MS)
  const refused = expect(enter('other', 100)).rejects.toMatchObject({ code: 'too_many_requests' })
  await pass(4 * WINDOW_MS)
  await refused
  expect(cut(all)).toBe(0)
})

test('people wait in the order in which they came, and each once for all of their exports', async () => {
  const all = await fill(100)
  const order: string[] = []
  const waiting = ['a', 'a', 'b', 'c'].map((user) =>
    enter(user, 100).then(() => void order.push(user)),
  )
  await Promise.resolve()
  for (const reader of all.slice(0, 3)) {
    reader.destroy()
    await vi.advanceTimersByTimeAsync(0)
  }
  await Promise.all(waiting)
  expect(order).toEqual(['a', 'a', 'b', 'c'])
})

test('a place is free again if everybody who waited for it has left', async () => {
  const all = await fill(100)
  const gone = new Reader(0)
  const waiting = places.enter('gone', gone as unknown as ServerResponse)
  gone.destroy()
  await vi.advanceTimersByTimeAsync(0)
  all[0]!.destroy()
  await waiting
  await enter('other', 100)
})
