import { dayFromNow, spokenDay } from './days.ts'

/** A moment as `<input type="datetime-local">` has it: where the device is, to the minute. */
export function localOf(moment: Date): string {
  const midnight = Date.UTC(moment.getFullYear(), moment.getMonth(), moment.getDate())
  const minutes = moment.getHours() * 60 + moment.getMinutes()
  return new Date(midnight + minutes * 60_000).toISOString().slice(0, 16)
}

/** The moment of what stands in such an input. */
export const instantOf = (local: string) => new Date(local).toISOString()

/** As people say it: Tomorrow, 09:00. */
export function spokenMoment(instant: string): string {
  const [day, time] = localOf(new Date(instant)).split('T')
  return `${spokenDay(day!)}, ${time}`
}

const HOUR_MS = 60 * 60 * 1000
const EVENING = '18:00'
const MORNING = '09:00'

/** When one is likely to want a reminder, from now on. */
export function likelyMoments(now = new Date()): [name: string, local: string][] {
  const evening = `${dayFromNow()}T${EVENING}`
  const inAnHour = localOf(new Date(now.getTime() + HOUR_MS))
  return [
    ['In an hour', inAnHour],
    ...(inAnHour < evening ? [['This evening', evening] as [string, string]] : []),
    ['Tomorrow morning', `${dayFromNow(1)}T${MORNING}`],
  ]
}
