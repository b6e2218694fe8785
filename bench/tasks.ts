import { resources, settle } from '../protocol/index.ts'

/** The nth task of a person, as its device would keep it. */
export function taskOf(id: string, n: number) {
  const day = (days: number) => new Date(Date.UTC(2026, 0, 1 + days)).toISOString()
  const task = {
    id,
    title: `Task ${n} of a long list`,
    description: n % 3 === 0 ? '' : 'Something more to say about it, in a line or so of text.',
    priority: ['low', 'medium', 'high'][n % 3],
    due_date: n % 5 === 0 ? null : day((n * 37) % 365).slice(0, 10),
    due_time: n % 4 === 0 ? '08:30' : null,
    completed: n % 10 < 4,
    created_at: day(n % 90),
  }
  return settle(resources.tasks, task, undefined, new Date().toISOString())
}
