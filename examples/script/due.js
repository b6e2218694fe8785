// Prints the open tasks that are due, and again after every change on any device.
import { setTimeout as pause } from 'node:timers/promises'

const { TASKTIDE_URL: server = 'http://localhost:3000', TASKTIDE_TOKEN } = process.env
const BEGINNING = `${server}/api/changes/?wait=30`
const tasks = new Map()

for (let url = BEGINNING; ; ) {
  const { results, next, has_more } = await changesAt(url)
  for (const { resource, id, document } of results)
    if (resource === 'tasks') document ? tasks.set(id, document) : tasks.delete(id)
  if (results.length > 0 && !has_more) print()
  url = next
}

function print() {
  const today = new Date().toISOString().slice(0, 10)
  const due = [...tasks.values()].filter(
    ({ due_date, completed }) => due_date && due_date <= today && !completed,
  )
  console.log(`${due.length} due`)
  for (const { due_date, title } of due) console.log(`${due_date} ${title}`)
}

/** Waits up to 30 seconds for changes, if there are none yet. */
async function changesAt(url) {
  const response = await fetch(url, { headers: { authorization: `Bearer ${TASKTIDE_TOKEN}` } })
  if (response.ok) return response.json()
  const { status, headers } = response
  // The cursor is too old: what is not listed from the beginning was deleted.
  if (status === 410) {
    tasks.clear()
    return changesAt(BEGINNING)
  }
  if (status === 429 || status === 503) {
    await pause(Number(headers.get('retry-after')) * 1000)
    return changesAt(url)
  }
  throw new Error(`${status}: ${(await response.json()).detail}`)
}
