/** The message about an unknown name: first the known one that was probably meant. */
export function unknownName(
  what: string,
  name: string,
  known: readonly string[],
  advice = 'Use one of',
): string {
  const nearest = nearestName(name, known)
  const guess = nearest === undefined ? '' : `Did you mean ${nearest}? `
  return `${guess}Unknown ${what}. ${advice}: ${known.join(', ') || 'none'}.`
}

/** Client input: the comparison takes the product of both lengths. */
const MAX_LENGTH = 60

/**
 * The name that begins with it, or the nearest one: a third of the letters may differ, and at least one.
 * `categoryId` is as near to `category_id` as it can be.
 *
 * @returns undefined if none is near
 */
function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name === '' || name.length > MAX_LENGTH) return undefined
  let nearest = known.find((one) => one.startsWith(`${name}_`))
  if (nearest !== undefined) return nearest
  const given = letters(name)
  let least = Number.POSITIVE_INFINITY
  for (const one of known) {
    const other = letters(one)
    const distance = editDistance(given, other)
    const allowed = Math.max(1, Math.floor(Math.min(given.length, other.length) / 3))
    if (distance > allowed || distance >= least) continue
    nearest = one
    least = distance
  }
  return nearest
}

const letters = (name: string) => name.toLowerCase().replaceAll(/[-_.[\]]/g, '')

/** How many letters have to be added, removed, changed or swapped with the next (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const swapped = isSwap ? before[j - 2]! + 1 : changed
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, changed, swapped))
    }
    before = row
    row = next
  }
  return row[b.length]!
}
