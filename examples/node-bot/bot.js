// Adds a task again, for the next day, when one whose description has #daily is completed.
import { createClient } from '@tasktide/client'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'

const {
  TASKTIDE_URL: url = 'http://localhost:3000',
  TASKTIDE_USERNAME,
  TASKTIDE_PASSWORD,
} = process.env
const DAY_MS = 24 * 60 * 60 * 1000

// The server has everything, so the bot keeps its copy in memory and reads it anew at each start.
const client = await createClient({ url, storage: getRxStorageMemory(), resources: ['tasks'] })
await client.session.signIn({ username: TASKTIDE_USERNAME, password: TASKTIDE_PASSWORD })
await client.sync.awaitInSync()

const daily = client.tasks.find({
  selector: { completed: true, description: { $regex: '#daily' } },
})
daily.$.subscribe((tasks) => {
  for (const task of tasks) void repeat(task).catch(console.error)
})
client.sync.rejected$.subscribe((edits) => {
  for (const { errors } of edits) console.error('The server rejected an edit:', errors)
})
console.log('Watching')

/** The completed task keeps no #daily, so it is repeated once, also after a restart in between. */
async function repeat(task) {
  const { title, description, due_date } = task
  const due = new Date(Date.parse(due_date ?? new Date().toISOString()) + DAY_MS)
  await task.incrementalPatch({ description: description.replaceAll('#daily', '').trim() })
  const next = await client.tasks.add({
    title,
    description,
    due_date: due.toISOString().slice(0, 10),
  })
  console.log(`${next.title}: ${next.due_date}`)
}

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    await client.session.signOut({ keepData: false }).catch(() => {})
    await client.close()
  })
