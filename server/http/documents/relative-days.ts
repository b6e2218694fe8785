/** A day relative to today, where the person is: `today`, `tomorrow`, `yesterday`, `+7d`, `-2w`. */
export interface RelativeDay {
  readonly days: number
}

const NAMED: Readonly<Record<string, number>> = { today: 0, tomorrow: 1, yesterday: -1 }
const UNITS: Readonly<Record<string, number>> = { d: 1, w: 7 }

/** For JSON Schema: a day, or one of these. */
export const RELATIVE_DAY = '^(today|tomorrow|yesterday|[-+][0-9]{1,4}[dw])$'

/** @returns undefined if the text is none */
export function relativeDay(text: string): RelativeDay | undefined {
  if (Object.hasOwn(NAMED, text)) return { days: NAMED[text]! }
  // An unescaped + in a URL means a space.
  const [, sign, count, unit] = /^([-+ ])(\d{1,4})([dw])$/.exec(text) ?? []
  if (sign === undefined) return undefined
  return { days: (sign === '-' ? -1 : 1) * Number(count) * UNITS[unit!]! }
}

export const isRelativeDay = (value: unknown): value is RelativeDay =>
  typeof value === 'object' && value !== null && 'days' in value

/** The date in a timezone at a moment, as `2026-11-30`. */
export function dateIn(timezone: string, moment: Date): string {
  // This language writes dates as ISO 8601 does.
  return new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short' }).format(moment)
}

export function dateAfter(date: string, { days }: RelativeDay): string {
  return new Date(Date.parse(date) + days * DAY_MS).toISOString().slice(0, 10)
}

const DAY_MS = 24 * 60 * 60 * 1000
