import { useEffect, useState } from 'preact/hooks'

/** The date in this number of days, in the device's timezone, as `YYYY-MM-DD`. */
export function dayFromNow(days = 0): string {
  const moment = new Date()
  moment.setDate(moment.getDate() + days)
  const [month, day] = [moment.getMonth() + 1, moment.getDate()]
  return [moment.getFullYear(), month, day].map((part) => String(part).padStart(2, '0')).join('-')
}

/** The current date, updated at midnight. */
export function useToday(): string {
  const [today, setToday] = useState(dayFromNow)
  useEffect(() => {
    const look = () => setToday(dayFromNow())
    const timer = setInterval(look, 30_000)
    document.addEventListener('visibilitychange', look)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', look)
    }
  }, [])
  return today
}

const thisYear = new Intl.DateTimeFormat('en', { weekday: 'short', day: 'numeric', month: 'short' })
const otherYear = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', year: 'numeric' })

/** A date for display: Today, Tomorrow, Fri, Dec 4. */
export function formatDay(day: string): string {
  if (day === dayFromNow(-1)) return 'Yesterday'
  if (day === dayFromNow()) return 'Today'
  if (day === dayFromNow(1)) return 'Tomorrow'
  const isThisYear = day.slice(0, 4) === dayFromNow().slice(0, 4)
  return (isThisYear ? thisYear : otherYear).format(new Date(`${day}T12:00`))
}
