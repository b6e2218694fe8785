import type { Task } from '../../../protocol/index.ts'

/** Tasks as iCalendar VTODOs (RFC 5545): `CALENDAR_BEGIN`, each task, `CALENDAR_END`. */

export const CALENDAR_BEGIN = [
  'BEGIN:VCALENDAR',
  'VERSION:2.0',
  'PRODID:-//Tasktide//Tasktide//EN',
  'CALSCALE:GREGORIAN',
  '',
].join('\r\n')

export const CALENDAR_END = 'END:VCALENDAR\r\n'

/** 1 is the highest, 9 the lowest. */
const PRIORITIES: Record<Task['priority'], number> = { high: 1, medium: 5, low: 9 }

/** @param timezone the timezone of due times */
export function toDo(task: Task, category: string | undefined, timezone: string): string {
  const { id, title, description, created_at, updated_at, completed, completed_at } = task
  return [
    'BEGIN:VTODO',
    `UID:${id}`,
    `DTSTAMP:${utc(updated_at)}`,
    `CREATED:${utc(created_at)}`,
    `LAST-MODIFIED:${utc(updated_at)}`,
    `SUMMARY:${escaped(title)}`,
    ...(description ? [`DESCRIPTION:${escaped(description)}`] : []),
    ...(task.due_date ? [due(task.due_date, task.due_time, timezone)] : []),
    `PRIORITY:${PRIORITIES[task.priority]}`,
    `STATUS:${completed ? 'COMPLETED' : 'NEEDS-ACTION'}`,
    ...(completed_at ? [`COMPLETED:${utc(completed_at)}`] : []),
    ...(category ? [`CATEGORIES:${escaped(category)}`] : []),
    ...(task.remind_at && !completed ? alarm(task.remind_at, title) : []),
    'END:VTODO',
    '',
  ]
    .map(folded)
    .join('\r\n')
}

const alarm = (moment: string, title: string) => [
  'BEGIN:VALARM',
  'ACTION:DISPLAY',
  `TRIGGER;VALUE=DATE-TIME:${utc(moment)}`,
  `DESCRIPTION:${escaped(title)}`,
  'END:VALARM',
]

function due(date: string, time: string | null, timezone: string): string {
  const day = date.replaceAll('-', '')
  if (time === null) return `DUE;VALUE=DATE:${day}`
  const moment = momentOf(date, time, timezone)
  const year = moment.getUTCFullYear()
  // Outside the years 1 to 9999 in UTC: written as local time.
  return year >= 1 && year <= 9999
    ? `DUE:${utc(moment.toISOString())}`
    : `DUE:${day}T${time.replace(':', '')}00`
}

/**
 * Converts local time to an instant, like reminders do (the view `reminder_moments`): an ambiguous time
 * is the second one, a skipped time uses the offset before the change, and an unknown timezone is UTC.
 */
export function momentOf(date: string, time: string, timezone: string): Date {
  const shown = Date.parse(`${date}T${time}:00Z`)
  const [before, after] = [shown - DAY_MS, shown + DAY_MS].map((at) => offsetAt(at, timezone))
  const [first, second] = [shown - before!, shown - after!]
  return new Date(offsetAt(second, timezone) === after ? second : first)
}

const DAY_MS = 24 * 60 * 60 * 1000

/** The UTC offset of a timezone, in milliseconds. */
function offsetAt(moment: number, timezone: string): number {
  const parts = clockOf(timezone).formatToParts(moment)
  const part = Object.fromEntries(parts.map(({ type, value }) => [type, Number(value)]))
  const shown = new Date(0)
  shown.setUTCFullYear(part.year!, part.month! - 1, part.day!)
  shown.setUTCHours(part.hour!, part.minute!, part.second!)
  return shown.getTime() - Math.floor(moment / 1000) * 1000
}

let clock: Intl.DateTimeFormat | undefined
let clockZone: string | undefined

/** Cached: creating one is slower than using it for a page of tasks. */
function clockOf(timezone: string): Intl.DateTimeFormat {
  if (!clock || clockZone !== timezone) {
    clock = newClock(timezone)
    clockZone = timezone
  }
  return clock
}

function newClock(timezone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-u-ca-iso8601-nu-latn-hc-h23', {
      timeZone: timezone,
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch (error) {
    // Devices may know timezones that this version of Node.js does not.
    if (!(error instanceof RangeError) || timezone === 'UTC') throw error
    return newClock('UTC')
  }
}

/** 20261122T083000Z */
const utc = (instant: string) => `${instant.slice(0, 19).replaceAll(/[-:]/g, '')}Z`

function escaped(text: string): string {
  return text
    .replaceAll(/[\\;,]/g, '\\$&')
    .replaceAll(/\r\n|\r|\n/g, '\\n')
    .replaceAll(/(?!\t)\p{Cc}/gu, '')
}

const MAX_OCTETS = 75

/** Folds lines longer than 75 octets, without splitting a character. */
function folded(line: string): string {
  const bytes = Buffer.from(line)
  if (bytes.length <= MAX_OCTETS) return line
  const lines: string[] = []
  for (let from = 0, room = MAX_OCTETS; from < bytes.length; room = MAX_OCTETS - 1) {
    let to = from + room
    while (isContinuation(bytes[to])) to--
    lines.push(bytes.toString('utf8', from, to))
    from = to
  }
  return lines.join('\r\n ')
}

/** Whether it is a continuation byte of UTF-8. */
const isContinuation = (byte = 0) => byte >> 6 === 0b10
