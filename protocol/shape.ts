import type * as z from 'zod'

/**
 * The minimal structure of values of a schema, as data. A client without a validator uses it to distinguish
 * responses of the server from those of a proxy. Nullable and optional parts are omitted.
 */
export type Shape =
  | 'string'
  | 'number'
  | 'boolean'
  | { readonly each: Shape }
  | { readonly fields: Readonly<Record<string, Shape>> }

export function shapeOf(schema: z.ZodType): Shape {
  const shape = shapeOfJson(schema.toJSONSchema() as JsonSchema)
  if (shape === undefined) throw new Error('The schema has no shape, so every value would match.')
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
