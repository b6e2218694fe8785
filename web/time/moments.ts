import { dayFromNow, formatDay } from './days.ts'

/** The value of `<input type="datetime-local">` for an instant, in the device's timezone. */
export function localOf(moment: Date): string {
  const midnight = Date.UTC(moment.getFullYear(), moment.getMonth(), moment.getDate())
  const minutes = moment.getHours() * 60 + moment.getMinutes()
  return new Date(midnight + minutes * 60_000).toISOString().slice(0, 16)
}

/** The instant of such a value. */
export const instantOf = (local: string) => new Date(local).toISOString()

/** An instant for display: Tomorrow, 09:00. */
export function formatMoment(instant: string): string {
  const [day, time] = localOf(new Date(instant)).split('T')
  return `${formatDay(day!)}, ${time}`
}

const HOUR_MS = 60 * 60 * 1000
const EVENING = '18:00'
const MORNING = '09:00'

/** Suggested times for a reminder. */
export function likelyMoments(now = new Date()): [name: string, local: string][] {
  const evening = `${dayFromNow()}T${EVENING}`
  const inAnHour = localOf(new Date(now.getTime() + HOUR_MS))
  return [
    ['In an hour', inAnHour],
    ...(inAnHour < evening ? [['This evening', evening] as [string, string]] : []),
    ['Tomorrow morning', `${dayFromNow(1)}T${MORNING}`],
  ]
}
