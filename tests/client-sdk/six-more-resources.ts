import { text } from '../../protocol/field.ts'
import { defineResource } from '../../protocol/resource.ts'
import { addResource } from '../peers/added-resource.ts'

/** With the four of the product they are ten. Added by the import, which has to come before the SDK's. */
export const ADDED = ['notes', 'habits', 'places', 'projects', 'goals', 'links'].map((name) =>
  defineResource({
    name,
    singular: name.slice(0, -1),
    version: 0,
    fields: { body: text('What it says.', { max: 100 }) },
    initial: { body: '' },
    filterable: [],
    sortable: ['created_at'],
    searchable: [],
    ordering: 'created_at',
    example: { body: 'Two cabins.' },
  }),
)
for (const resource of ADDED) addResource(resource)
