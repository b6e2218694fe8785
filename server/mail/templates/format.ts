import type { Format } from './template.ts'

const formats = new Map<string, Format>()
const MAX_FORMATS = 1_000

/** @param timezone an IANA timezone: what the reader's clock shows */
export function formatFor(language: string, timezone: string): Format {
  const key = `${language} ${timezone}`
  const known = formats.get(key)
  if (known) return known
  if (formats.size >= MAX_FORMATS) formats.clear()
  const format = createFormat(language, timezone)
  formats.set(key, format)
  return format
}

/** Slower than rendering the mail, hence cached. */
function createFormat(language: string, timezone: string): Format {
  // A due date and time are already in the reader's timezone.
  const days = new Intl.DateTimeFormat(language, { dateStyle: 'full', timeZone: 'UTC' })
  const times = new Intl.DateTimeFormat(language, { timeStyle: 'short', timeZone: 'UTC' })
  const moments = momentsIn(language, timezone)
  const day = (date: string) => days.format(new Date(`${date}T00:00Z`))
  return {
    day,
    due: ({ date, time }) =>
      time === null ? day(date) : `${day(date)}, ${times.format(new Date(`${date}T${time}Z`))}`,
    moment: (instant) => moments.format(new Date(instant)),
  }
}

/** In UTC if this machine does not know the timezone, like reminders. */
function momentsIn(language: string, timeZone: string): Intl.DateTimeFormat {
  const style = { dateStyle: 'full', timeStyle: 'long' } as const
  try {
    return new Intl.DateTimeFormat(language, { ...style, timeZone })
  } catch {
    return new Intl.DateTimeFormat(language, { ...style, timeZone: 'UTC' })
  }
}
