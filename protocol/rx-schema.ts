import type { Kind } from './canonical.ts'
import type { Resource } from './resource.ts'

type Definition = Pick<Resource, 'name' | 'version' | 'revision' | 'fields' | 'fieldNames'>

type Property = Readonly<Record<string, unknown>>

/** The schema of a collection in RxDB. */
export interface RxSchema {
  readonly title: string
  readonly version: number
  readonly primaryKey: 'id'
  readonly type: 'object'
  readonly properties: Readonly<Record<string, Property>>
  readonly required: readonly string[]
  readonly indexes: readonly string[]
}

const UUID = { type: 'string', maxLength: 36 }
const TEXT = { type: 'string' }
const INSTANT = { type: 'string', maxLength: 24 }

const PROPERTIES: Readonly<Record<Kind, Property>> = {
  text: TEXT,
  choice: TEXT,
  day: { type: 'string', maxLength: 10 },
  time: { type: 'string', maxLength: 5 },
  instant: INSTANT,
  flag: { type: 'boolean' },
  whole_number: { type: 'integer' },
  number: { type: 'number' },
  reference: UUID,
  uuid: UUID,
  set: { type: 'array', items: TEXT },
  record: { type: 'object', additionalProperties: true },
  order_key: { type: 'string', maxLength: 200 },
}

/**
 * The RxDB schema of a resource. Only sort fields have an index: each index slows down writes, and nullable
 * fields cannot have one.
 */
export function rxSchemaOf(resource: Definition): RxSchema {
  const keys = resource.fieldNames.filter((name) => resource.fields[name]!.kind === 'order_key')
  return {
    title: resource.name,
    version: localVersion(resource),
    primaryKey: 'id',
    type: 'object',
    properties: {
      id: UUID,
      ...Object.fromEntries(resource.fieldNames.map((name) => [name, property(resource, name)])),
      created_at: INSTANT,
      updated_at: INSTANT,
    },
    required: ['id', ...resource.fieldNames, 'created_at', 'updated_at'],
    indexes: keys,
  }
}

/** RxDB detects a changed schema only by its version. */
function localVersion({ version, revision }: Definition): number {
  return version * 1000 + revision
}

function property(resource: Definition, name: string): Property {
  const { kind, nullable, values } = resource.fields[name]!
  const described: Property = { ...PROPERTIES[kind], ...(values && { enum: values }) }
  if (!nullable) return described
  return {
    ...described,
    type: [described.type, 'null'],
    ...(values && { enum: [...values, null] }),
  }
}
