import { nullable, reference, text } from '../../protocol/field.ts'
import { defineResource } from '../../protocol/resource.ts'

export const comments = defineResource({
  name: 'comments',
  singular: 'comment',
  version: 0,
  fields: {
    body: text('What it says.', { max: 100 }),
    task_id: reference('What it is about.', { to: 'tasks', on_delete: 'cascade' }),
    subtask_id: nullable(reference('Which part of it.', { to: 'subtasks', on_delete: 'cascade' })),
    see_id: nullable(reference('Another one.', { to: 'comments', on_delete: 'clear' })),
  },
  initial: { body: '', subtask_id: null, see_id: null },
  filterable: ['task_id'],
  sortable: ['created_at'],
  searchable: [],
  ordering: 'created_at',
  example: { body: 'Two cabins.', task_id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f' },
})
