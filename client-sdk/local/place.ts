import { generateNKeysBetween } from 'fractional-indexing'

/** A task as its place is concerned. */
export interface Placed {
  readonly id: string
  readonly position: string
}

/** Those on one side of a place, the nearest first. */
export interface Side {
  readonly nearest: readonly Placed[]
  /** There are no others beyond. */
  readonly isWhole: boolean
}

/**
 * A key grows by a character with about every sixth move into one gap. Longer ones than this are not
 * made, far below what the server takes (200): neighbours get shorter ones instead.
 */
export const MAX_KEY = 50

/**
 * The order keys that put a task between two others: its own, and new ones for as few neighbours as
 * possible where there is no room. Two devices offline may have given neighbours one key, and many
 * moves into one gap make keys long.
 *
 * @returns by id; undefined where that cannot be told without seeing more of either side
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

/** The key next to the first `count` of a side: null at the end, undefined where it is not known. */
function beyond({ nearest, isWhole }: Side, count: number): string | null | undefined {
  return nearest[count]?.position ?? (isWhole ? null : undefined)
}

function keysBetween(low: string | null, high: string | null, count: number) {
  try {
    const keys = generateNKeysBetween(low, high, count)
    return keys.every(isGood) ? keys : undefined
  } catch {
    return undefined // no room between equals, or beside a key that is none
  }
}

/** The least integer part has no place below it, so it is no key alone. */
const isGood = (key: string) => key.length <= MAX_KEY && !/^A0{26}$/.test(key)
