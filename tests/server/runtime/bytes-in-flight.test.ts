import { describe, expect, test } from 'vitest'
import { createBytesInFlight, MIN_BYTES } from '../../../server/runtime/bytes-in-flight.ts'

const MEGABYTE = 1024 * 1024
const LIMIT = 80 * MEGABYTE

describe('the budget of bytes in flight', () => {
  test('gives each person a quarter, and refuses more with a time to come back', () => {
    const bytes = createBytesInFlight(LIMIT)
    bytes.take('alice', 20 * MEGABYTE)
    expect(() => bytes.take('alice', 1)).toThrow(
      expect.objectContaining({ code: 'too_many_requests', retryAfter: expect.any(Number) }),
    )
    expect(bytes.tryTake('bob', 20 * MEGABYTE)).toBeDefined()
    expect([bytes.held(), bytes.refused()]).toEqual([40 * MEGABYTE, 1])
  })

  test('ends for everybody together', () => {
    const bytes = createBytesInFlight(LIMIT)
    for (const one of ['a', 'b', 'c', 'd']) bytes.take(one, 20 * MEGABYTE)
    expect(bytes.tryTake('alice', 1)).toBeUndefined()
  })

  test('counts what arrives piece by piece, and gives back all of it once', () => {
    const bytes = createBytesInFlight(LIMIT)
    const body = bytes.take('alice', 0)
    body.add(15 * MEGABYTE)
    expect(body.tryAdd(6 * MEGABYTE)).toBe(false)
    expect(() => body.add(6 * MEGABYTE)).toThrow(
      expect.objectContaining({ code: 'too_many_requests' }),
    )
    body.add(5 * MEGABYTE)
    expect(bytes.held()).toBe(20 * MEGABYTE)
    body.release()
    body.release()
    expect(bytes.held()).toBe(0)
    expect(bytes.tryTake('alice', 20 * MEGABYTE)).toBeDefined()
  })

  test('cuts the oldest slow reader of whoever holds most, for somebody who holds less', () => {
    const bytes = createBytesInFlight(LIMIT)
    const cut: string[] = []
    const wait = (person: string, size: number, name = person) =>
      bytes.take(person, size * MEGABYTE, () => cut.push(name))
    for (const one of ['a', 'b', 'c']) wait(one, 15)
    const [, second] = ['first', 'second'].map((name) => wait('heavy', 10, name))
    wait('d', 14)
    expect(cut).toEqual([])
    wait('alice', 2)
    expect(cut).toEqual(['first'])
    second!.release()
    expect(bytes.tryTake('alice', 16 * MEGABYTE)).toBeDefined()
    expect(bytes.tryTake('bob', 25 * MEGABYTE), 'holds no less than others').toBeUndefined()
    expect(cut).toEqual(['first'])
  })

  test('lets somebody who holds nothing hold one thing of any size', () => {
    const bytes = createBytesInFlight(LIMIT)
    const large = bytes.take('alice', 30 * MEGABYTE)
    expect(bytes.tryTake('alice', 1)).toBeUndefined()
    large.release()
    expect(bytes.tryTake('alice', 1)).toBeDefined()
  })

  test('fits two of the largest pushes of a person, whatever the heap', () => {
    expect(createBytesInFlight(MIN_BYTES).limitOfPerson).toBe(16 * MEGABYTE)
    expect(createBytesInFlight().limitOfPerson).toBeGreaterThanOrEqual(16 * MEGABYTE)
  })
})
