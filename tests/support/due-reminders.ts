import { randomUUID } from 'node:crypto'
import { resources, settle } from '../../protocol/index.ts'
import type { Database } from '../../server/database/connect.ts'

/** The tasks of so many people, each with a reminder that is due. @returns the first one's address */
export async function addPeople(
  db: Database,
  count: number,
  remindAt = new Date(),
): Promise<string> {
  const made = new Date(Date.now() - 60_000).toISOString()
  const people = Array.from({ length: count }, () => {
    const id = randomUUID()
    return { id, username: id, email: `${id}@example.com`, password_hash: '' }
  })
  await db('users').insert(people.map((person) => ({ ...person, email_verified_at: made })))
  for (const { id } of people) {
    const task = { id: randomUUID(), title: 'Ferry', remind_at: remindAt.toISOString() }
    await db('profiles').insert({
      user_id: id,
      ...settle(resources.profile, { id }, undefined, made),
    })
    await db('tasks').insert({ user_id: id, ...settle(resources.tasks, task, undefined, made) })
  }
  return people[0]!.email
}
