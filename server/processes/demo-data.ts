import { randomBytes } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { Problem, type Role, resources, type Unsettled } from '../../protocol/index.ts'
import { create } from '../sync/edit.ts'
import type { Server } from './web.ts'

interface Person {
  username: string
  role?: Role
  categories: { name: string; color: string; tasks: string[] }[]
  tasks: string[]
}

const PEOPLE: Person[] = [
  {
    username: 'demo-ann',
    categories: [
      { name: 'Home', color: '#16a34a', tasks: ['Water the plants', 'Fix the tap'] },
      { name: 'Travel', color: '#0ea5e9', tasks: ['Book the ferry', 'Renew the passport'] },
    ],
    tasks: ['Call Bob'],
  },
  {
    username: 'demo-bob',
    categories: [
      { name: 'Work', color: '#f97316', tasks: ['Write the report', 'Plan the sprint'] },
    ],
    tasks: ['Buy milk', 'Call Ann'],
  },
  { username: 'demo-admin', role: 'admin', categories: [], tasks: [] },
]

/**
 * Creates demo data if it does not exist yet: two users with categories and tasks, and an admin.
 *
 * @returns the credentials of the users that it created
 */
export async function createDemoData({
  app: { administration, store },
  database: { db },
}: Pick<Server, 'app' | 'database'>) {
  const made: { username: string; password: string }[] = []
  for (const person of PEOPLE) {
    const { username, role = 'user' } = person
    try {
      const email = `${username}@example.com`
      const password = randomBytes(12).toString('base64url')
      const registration = { username, email, password }
      const { id } = await administration.create({}, registration, role)
      await db('users').where({ id }).update({ email_verified_at: now() })
      await fill(id, person)
      made.push({ username, password })
    } catch (error) {
      if (!(error instanceof Problem && error.errors?.username)) throw error
    }
  }
  return made

  async function fill(user: string, { categories, tasks }: Person) {
    for (const { name, color, tasks: titles } of categories) {
      const category = { id: uuidv7(), name, color }
      await create(store, user, resources.categories, category, now())
      for (const title of titles) await addTask({ title, category_id: category.id })
    }
    for (const title of tasks) await addTask({ title })

    async function addTask(fields: { title: string; category_id?: string }) {
      const due_date = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)
      const task: Unsettled = { id: uuidv7(), due_date, ...fields }
      await create(store, user, resources.tasks, task, now())
    }
  }
}

const now = () => new Date().toISOString()
