import type { Request } from 'express'
import { type FieldErrors, invalid, remedyFor } from '../../protocol/index.ts'
import { unknownName } from './nearest-name.ts'
import type { Operation } from './operation.ts'
import { shortened } from './problems.ts'

/** Parses only the given parameters: a list has about fifty, most requests use three. */
export function queryReader({
  query: parameters = [],
  ignoresOthers,
}: Pick<Operation, 'query' | 'ignoresOthers'>) {
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]))
  const known = [...byName.keys()]
  return (given: Request['query']): Record<string, unknown> => {
    const query: Record<string, unknown> = {}
    const errors: FieldErrors = Object.create(null)
    for (const [name, value] of Object.entries(given)) {
      const { schema, isList, mayRepeat } = byName.get(name) ?? {}
      if (!schema && ignoresOthers) continue
      const text = isList && Array.isArray(value) ? value.join() : value
      // A repeated parameter is ambiguous.
      if (schema && typeof text !== 'string' && !mayRepeat) errors[name] = ['Use it only once.']
      const result = schema?.safeParse(text, { error: remedyFor })
      if (result?.success) query[name] = result.data
      else
        errors[shortened(name)] ??= result?.error.issues.map(({ message }) => message) ?? [
          unknownName('parameter', name, known),
        ]
    }
    if (Object.keys(errors).length > 0) throw invalid('query', { ...errors })
    return query
  }
}
