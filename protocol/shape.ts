import type * as z from 'zod'

/**
 * What a value must have at least to be of a schema, as data: for a client that is to tell an answer of
 * the server's from anybody else's, and carries no validator. What may be null or left out is not in it.
 */
export type Shape =
  | 'string'
  | 'number'
  | 'boolean'
  | { readonly each: Shape }
  | { readonly fields: Readonly<Record<string, Shape>> }

export function shapeOf(schema: z.ZodType): Shape {
  const shape = shapeOfJson(schema.toJSONSchema() as JsonSchema)
  if (shape === undefined) throw new Error('A schema without a shape would let anything pass.')
  return shape
}

interface JsonSchema {
  type?: string
  items?: JsonSchema
  properties?: Record<string, JsonSchema>
  required?: string[]
}

function shapeOfJson({
  type,
  items,
  properties = {},
  required = [],
}: JsonSchema): Shape | undefined {
  if (type === 'string' || type === 'number' || type === 'boolean') return type
  if (type === 'integer') return 'number'
  if (type === 'array') return { each: (items && shapeOfJson(items)) ?? { fields: {} } }
  if (type !== 'object') return undefined
  const fields = required.flatMap((name) => {
    const shape = shapeOfJson(properties[name]!)
    return shape === undefined ? [] : [[name, shape]]
  })
  return { fields: Object.fromEntries(fields) }
}
