/** The maximum depth of nested objects and lists. */
export const MAX_DEPTH = 16

/** Whether Postgres and UTF-8 can store it. */
export function isStorable(value: string): boolean {
  return !value.includes('\0') && !/[\ud800-\udfff]/u.test(value)
}

/** Whether it is JSON that Postgres can store, within the depth limit. */
export function isRecordable(value: unknown): boolean {
  return !isDeeperThan(MAX_DEPTH, value) && isStorableJson(value)
}

/**
 * Whether objects and lists are nested deeper. It goes no deeper than that itself, because JSON can be too
 * deep for recursion, and makes no lists of what it visits, because there can be very much of it.
 */
export function isDeeperThan(max: number, value: unknown): boolean {
  return hasParts(value) && (max < 0 || anyPart(value, (one) => isDeeperThan(max - 1, one)))
}

function isStorableJson(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value)
  if (typeof value === 'number') return Number.isFinite(value)
  if (!hasParts(value)) return value === null || typeof value === 'boolean'
  return !anyPart(value, (one, key) => !isStorableJson(one) || !isStorable(key))
}

/** @param holds called with each element or property, and the name of the property */
function anyPart(value: object, holds: (one: unknown, key: string) => boolean): boolean {
  if (Array.isArray(value)) return value.some((one) => holds(one, ''))
  for (const key in value) if (holds((value as Record<string, unknown>)[key], key)) return true
  return false
}

const hasParts = (value: unknown): value is object => typeof value === 'object' && value !== null

export function isPlainObject(value: unknown): boolean {
  return hasParts(value) && !Array.isArray(value)
}
