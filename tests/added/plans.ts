import { number, record, set } from '../../protocol/field.ts'
import { defineResource } from '../../protocol/resource.ts'

export const plans = defineResource({
  name: 'plans',
  singular: 'plan',
  version: 0,
  fields: {
    labels: set('What it is filed under.', { max: 10, maxLength: 20 }),
    settings: record('Whatever the app wants to know of it.', { max: 1_000 }),
    estimate: number('Hours that it takes.'),
  },
  initial: { labels: [], settings: {}, estimate: 0 },
  filterable: ['labels', 'estimate'],
  sortable: ['estimate', 'created_at'],
  searchable: [],
  ordering: 'created_at',
  example: { labels: ['urgent'], settings: { colour: 'red' }, estimate: 1.5 },
})
