import { generateNKeysBetween } from 'fractional-indexing'

/** The id and position of a task. */
export interface Placed {
  readonly id: string
  readonly position: string
}

/** The tasks on one side of a position, the nearest first. */
export interface Side {
  readonly nearest: readonly Placed[]
  /** Whether there are no more tasks on this side. */
  readonly isWhole: boolean
}

/**
 * A key grows by one character per about six moves into the same gap. Beyond this length (the server
 * accepts 200), neighbours get new, shorter keys instead.
 */
export const MAX_KEY = 50

/**
 * The order keys that move a task between two others: its own, and new keys for as few neighbours as
 * possible if there is no room. Two offline devices may have created equal keys, and many moves into one
 * gap make keys long.
 *
 * @returns keys by id; undefined if more tasks of a side are needed to decide
 */
export function keysAt(
  id: string,
  before: Side,
  after: Side,
): ReadonlyMap<string, string> | undefined {
  for (let count = 0; ; count = Math.max(1, 2 * count)) {
    for (const [ahead, behind] of count
      ? [
          [0, count],
          [count, 0],
          [count, count],
        ]
      : [[0, 0]]) {
      const [low, high] = [beyond(before, ahead!), beyond(after, behind!)]
      if (low === undefined || high === undefined) return undefined
      const moved = [
        ...before.nearest
          .slice(0, ahead)
          .map((one) => one.id)
          .reverse(),
        id,
        ...after.nearest.slice(0, behind).map((one) => one.id),
      ]
      const keys = keysBetween(low, high, moved.length)
      if (keys) return new Map(moved.map((one, i) => [one, keys[i]!]))
    }
  }
}

/** The key after the first `count` tasks of a side: null at the end, undefined if unknown. */
function beyond({ nearest, isWhole }: Side, count: number): string | null | undefined {
  return nearest[count]?.position ?? (isWhole ? null : undefined)
}

function keysBetween(low: string | null, high: string | null, count: number) {
  try {
    const keys = generateNKeysBetween(low, high, count)
    return keys.every(isGood) ? keys : undefined
  } catch {
    return undefined // no room between equal keys, or next to an invalid one
  }
}

/** The least integer part has no room below it, so it is not a valid key by itself. */
const isGood = (key: string) => key.length <= MAX_KEY && !/^A0{26}$/.test(key)
