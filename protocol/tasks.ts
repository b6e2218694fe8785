import { choice, day, flag, instant, nullable, reference, text, time } from './field.ts'
import { orderKey } from './order-key.ts'
import { type DocumentOf, defineResource } from './resource.ts'

export const tasks = defineResource({
  name: 'tasks',
  singular: 'task',
  version: 0,
  fields: {
    title: text('What is to be done.', { min: 1, max: 500 }),
    description: text('Anything more to say about it.', { max: 10_000 }),
    category_id: nullable(
      reference('The category it belongs to, if any.', { to: 'categories', on_delete: 'clear' }),
    ),
    priority: choice('How much it matters.', ['low', 'medium', 'high']),
    due_date: nullable(day('The day it is due, in the timezone of its owner.')),
    due_time: nullable(time('The time of that day; null is all day.')),
    remind_at: nullable(instant('When to remind.')),
    completed: flag('Whether it is done.'),
    completed_at: nullable(instant('When it was done; follows `completed`.')),
    position: orderKey("Its place in the owner's own order, as a fractional index."),
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
