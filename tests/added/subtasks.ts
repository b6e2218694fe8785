import { nullable, reference, text } from '../../protocol/field.ts'
import { defineResource } from '../../protocol/resource.ts'

export const subtasks = defineResource({
  name: 'subtasks',
  singular: 'subtask',
  version: 0,
  fields: {
    title: text('What is to be done.', { max: 100 }),
    parent_id: nullable(
      reference('What it is a part of.', { to: 'subtasks', on_delete: 'cascade' }),
    ),
  },
  initial: { title: '', parent_id: null },
  filterable: ['parent_id'],
  sortable: ['created_at'],
  searchable: [],
  ordering: 'created_at',
  example: { title: 'Look up the times' },
})
