import * as z from 'zod'
import { type Field, text } from './field.ts'
import { orderKey } from './order-key.ts'
import { type DocumentOf, defineResource } from './resource.ts'

export const categories = defineResource({
  name: 'categories',
  singular: 'category',
  version: 0,
  fields: {
    name: text('The name.', { min: 1, max: 100 }),
    color: color('The colour.'),
    position: orderKey("The position in the user's own order, as a fractional index."),
  },
  initial: { color: '#64748b' },
  filterable: ['name', 'created_at', 'updated_at'],
  sortable: ['position', 'name', 'created_at', 'updated_at'],
  searchable: ['name'],
  ordering: 'position',
  example: { name: 'Travel', color: '#0ea5e9' },
})

export type Category = DocumentOf<typeof categories>

function color(description: string) {
  const form = {
    pattern: '^#[0-9a-fA-F]{6}$',
    remedy: 'Use # and six hexadecimal digits, such as #0ea5e9.',
  }
  const schema = z
    .string()
    .regex(new RegExp(form.pattern), form.remedy)
    .overwrite((value) => value.toLowerCase())
  return { kind: 'text', schema, nullable: false, description, form } satisfies Field
}
