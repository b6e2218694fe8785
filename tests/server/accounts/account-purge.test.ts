import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import * as migration from '../../../migrations/0009_deleted_accounts.ts'
import { type Resource, resources } from '../../../protocol/index.ts'
import { referringFirst } from '../../../server/store/purge.ts'
import { createDatabase } from '../../support/database.ts'

/** A kind of document that refers to these others. */
const kind = (name: string, ...others: string[]): Resource => ({
  ...resources.tasks,
  name,
  fields: Object.fromEntries(
    others.map((other) => [
      `${other}_id`,
      { ...resources.tasks.fields.category_id, references: { to: other, on_delete: 'clear' } },
    ]),
  ) as never,
})

const CHAIN: Resource[] = [
  kind('notes', 'tasks', 'notes'),
  kind('tasks', 'projects'),
  kind('projects', 'areas'),
  kind('areas'),
]

test.each([
  ['the order that is wanted', [0, 1, 2, 3]],
  ['that order turned round', [3, 2, 1, 0]],
  ['another', [1, 3, 0, 2]],
  ['yet another', [2, 0, 3, 1]],
])(
  'referring documents are purged before their targets, over any distance, from %s',
  (_, order) => {
    const all = order.map((i) => CHAIN[i]!)
    const purged = referringFirst(Object.fromEntries(all.map((each) => [each.name, each])))
    expect(purged.map(({ name }) => name)).toEqual(['notes', 'tasks', 'projects', 'areas'])
  },
)

test('resources that refer to each other are purged once each', () => {
  const all = { tasks: kind('tasks', 'notes'), notes: kind('notes', 'tasks') }
  expect(
    referringFirst(all)
      .map(({ name }) => name)
      .sort(),
  ).toEqual(['notes', 'tasks'])
})

test('accounts that were being deleted during the migration are remembered as deleted', async () => {
  const database = await createDatabase()
  const trx = await database.db.transaction()
  try {
    await migration.down(trx)
    const [ann, bob] = [randomUUID(), randomUUID()]
    const person = (id: string) => ({ id, username: id, email: id, password_hash: '' })
    const deleted_at = new Date('2026-11-22T08:30:00.000Z')
    await trx('users').insert([{ ...person(ann), deleted_at }, person(bob)])
    await migration.up(trx)
    expect(await trx('deleted_accounts')).toEqual([{ user_id: ann, deleted_at }])
    expect(await trx('users').where({ is_active: true }).pluck('id')).toEqual([bob])
  } finally {
    await trx.rollback()
    await database.drop()
  }
})
