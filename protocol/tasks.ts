import { choice, day, flag, instant, nullable, reference, text, time } from './field.ts'
import { orderKey } from './order-key.ts'
import { type DocumentOf, defineResource } from './resource.ts'

export const tasks = defineResource({
  name: 'tasks',
  singular: 'task',
  version: 0,
  fields: {
    title: text('The title.', { min: 1, max: 500 }),
    description: text('Notes.', { max: 10_000 }),
    category_id: nullable(
      reference('The category of the task, if any.', { to: 'categories', on_delete: 'clear' }),
    ),
    priority: choice('The priority.', ['low', 'medium', 'high']),
    due_date: nullable(day("The due date, in the user's timezone.")),
    due_time: nullable(time('The due time on that day; null means all day.')),
    remind_at: nullable(instant('When to send a reminder.')),
    completed: flag('Whether the task is completed.'),
    completed_at: nullable(instant('When the task was completed; set with `completed`.')),
    position: orderKey("The position in the user's own order, as a fractional index."),
  },
  initial: {
    description: '',
    category_id: null,
    priority: 'medium',
    due_date: null,
    due_time: null,
    remind_at: null,
    completed: false,
    completed_at: null,
  },
  stamps: { completed_at: 'completed' },
  filterable: [
    'category_id',
    'priority',
    'due_date',
    'due_time',
    'remind_at',
    'completed',
    'completed_at',
    'created_at',
    'updated_at',
  ],
  sortable: [
    'position',
    'title',
    'priority',
    'due_date',
    'due_time',
    'remind_at',
    'completed',
    'completed_at',
    'created_at',
    'updated_at',
  ],
  searchable: ['title', 'description'],
  ordering: '-created_at',
  example: {
    title: 'Book the ferry',
    description: 'The early one, with a cabin.',
    priority: 'high',
    due_date: '2026-12-01',
    due_time: '08:30',
  },
})

export type Task = DocumentOf<typeof tasks>
