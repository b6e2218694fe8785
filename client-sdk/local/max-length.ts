import type { ResourceName } from './documents.ts'
import { type Definition, resources } from './resources.ts'

/**
 * The maximum length of a text field, for forms: `maxLength('tasks', 'title')`. In UTF-16 code units, like
 * `String.length` and `maxlength`. Undefined without a limit.
 */
export function maxLength(resource: ResourceName, field: string): number | undefined {
  const { fields }: Definition = resources[resource]
  return fields[field]?.kind === 'text' ? fields[field].max : undefined
}
