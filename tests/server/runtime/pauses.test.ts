import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { pause, turn } from '../../../server/runtime/pauses.ts'

let now = 1_000_000
vi.spyOn(performance, 'now').mockImplementation(() => now)
afterEach(() => {
  now += 1_000_000
})
// The last turn of the files that follow in this process is none of the future.
afterAll(async () => {
  vi.restoreAllMocks()
  await turn()
})

/** In which turns of the event loop the pieces of work were done that take so long. */
async function turnsOf(work: readonly (readonly number[])[]): Promise<number[]> {
  let turn = 0
  let isOver = false
  const turns: number[] = []
  const counting = (async () => {
    for (; !isOver; turn++) await nextTurn()
  })()
  const done = work.map(async (pieces) => {
    for (const ms of pieces) {
      await pause()
      turns.push(turn)
      now += ms
    }
  })
  await Promise.all(done)
  isOver = true
  await counting
  return turns
}

test('long work is interrupted after every ten milliseconds', async () => {
  const turns = await turnsOf([[4, 4, 4, 4, 4, 4, 11, 1]])
  const begun = turns.map((turn, i) => turn !== turns[i - 1])
  expect(begun).toEqual([true, false, false, true, false, false, true, true])
})

test('however much long work there is, one piece is done in each turn', async () => {
  const turns = await turnsOf(Array(5).fill([10, 10, 10, 10]))
  expect(new Set(turns).size).toBe(20)
})

test('after a long piece, everybody else has as much time', async () => {
  const [first, second] = await turnsOf([[10, 1]])
  expect(second! - first!).toBeLessThan(5)
  const [before, after] = await turnsOf([[50, 1]])
  expect(after! - before!).toBeGreaterThan(20)
})
