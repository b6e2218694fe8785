import { fieldOf, type Kind, type Resource } from '../../protocol/index.ts'

/** The column type of each kind. A choice has an enum type, in meaning order. */
const SQL_TYPES: Record<Exclude<Kind, 'choice'>, string> = {
  text: 'text',
  day: 'date',
  time: 'time',
  instant: 'timestamptz',
  flag: 'boolean',
  whole_number: 'integer',
  number: 'double precision',
  reference: 'uuid',
  uuid: 'uuid',
  set: 'text[]',
  record: 'jsonb',
  order_key: 'text',
}

/** The columns of a resource that clients see, in the order of documents. */
export function columnsOf(resource: Resource): readonly string[] {
  return ['id', ...resource.fieldNames, 'created_at', 'updated_at']
}

/** The SQL type of a column, for casts: `tasks_priority`, `timestamptz`, … */
export function sqlType(resource: Resource, column: string): string {
  if (column === 'id') return 'uuid'
  const { kind } = fieldOf(resource, column)
  return kind === 'choice' ? `${resource.table}_${column}` : SQL_TYPES[kind]
}

/**
 * SQL for the document of a row `t` as JSON, in the exact form of the protocol. Uses row_to_json, which is
 * faster than json_build_object and writes no spaces.
 */
export function documentSql(resource: Resource): string {
  return rowSql(valuesSql(resource))
}

/** The same in replication form, with `_deleted`. */
export function wireDocumentSql(resource: Resource): string {
  return rowSql([...valuesSql(resource), 't.deleted as _deleted'])
}

const rowSql = (values: readonly string[]) =>
  `(select row_to_json(d) from (select ${values.join(', ')}) d)`

const valuesSql = (resource: Resource) =>
  columnsOf(resource).map((column) => `${valueSql(resource, column)} as ${column}`)

function valueSql(resource: Resource, column: string): string {
  if (column === 'id') return 't.id'
  const { kind } = fieldOf(resource, column)
  // to_char would take a fifth of the time of a page. JSON omits trailing zeros of the fraction of a
  // second, so this adds a microsecond and cuts it off again.
  if (kind === 'instant')
    return `substr(to_json((t.${column} at time zone 'utc') + interval '1 microsecond')::text, 2, 23) || 'Z'`
  if (kind === 'time') return `left(t.${column}::text, 5)`
  return `t.${column}`
}
