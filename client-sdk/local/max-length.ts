import { type Definition, resources } from './resources.ts'

/**
 * The most characters that a text of a document may have, for forms: `maxLength('tasks', 'title')`. They
 * are counted as JavaScript and `maxlength` count them. Undefined where there is no limit.
 */
export function maxLength(
  resource: 'tasks' | 'categories' | 'profile',
  field: string,
): number | undefined {
  const { fields }: Definition = resources[resource]
  return fields[field]?.kind === 'text' ? fields[field].max : undefined
}
