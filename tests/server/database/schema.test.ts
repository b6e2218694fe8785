import { afterAll, beforeAll, expect, test } from 'vitest'
import { fieldOf, type Resource, referencesOf, resources } from '../../../protocol/index.ts'
import type { Database } from '../../../server/database/connect.ts'
import { columnsOf, sqlType } from '../../../server/store/columns.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'

let database: TestDatabase
let db: Database
beforeAll(async () => {
  database = await createDatabase()
  db = database.db
})
afterAll(() => database.drop())

test.each(Object.values<Resource>(resources).map((resource) => [resource.name, resource] as const))(
  'the table of %s matches its definition',
  async (_name, resource) => {
    expect(await differences(db, resource)).toEqual([])
  },
)

const { tasks } = resources
const { completed, due_date, priority, position, category_id } = tasks.fields

// A definition that changes without its table, or a table without its definition, is noticed.
test.each<[string, Resource, string[]]>([
  ['another field', withField('mood', completed), ['mood: missing, expected boolean not null']],
  ['a field less', withoutField('remind_at'), ['remind_at: not in the definition']],
  [
    'another kind',
    withField('due_date', { ...due_date, kind: 'text' }),
    ['due_date: date, expected text collate und-x-icu'],
  ],
  [
    'a field that is now nullable',
    withField('completed', { ...completed, nullable: true }),
    ['completed: boolean not null, expected boolean'],
  ],
  [
    'a field that is no longer nullable',
    withField('due_date', { ...due_date, nullable: false }),
    ['due_date: date, expected date not null'],
  ],
  [
    'choices in another order',
    withField('priority', { ...priority, values: ['high', 'medium', 'low'] }),
    [
      'priority: tasks_priority of low < medium < high not null, expected tasks_priority of high < medium < low not null',
    ],
  ],
  [
    'another choice',
    withField('priority', { ...priority, values: ['low', 'medium', 'high', 'urgent'] }),
    [
      'priority: tasks_priority of low < medium < high not null, expected tasks_priority of low < medium < high < urgent not null',
    ],
  ],
  [
    'an order key instead of a text',
    withField('title', position),
    ['title: text collate und-x-icu not null, expected text collate C not null'],
  ],
  [
    'a reference to something else',
    withField('category_id', { ...category_id, references: { to: 'tasks', on_delete: 'clear' } }),
    [
      'category_id: no deferred foreign key (user_id, category_id) to tasks (user_id, id)',
      'category_id: no check that what it refers to is live',
      'category_id: no release when tasks are deleted or restored',
      'category_id: no release when rows of tasks are removed',
    ],
  ],
  [
    'a reference with a cascade',
    withField('category_id', {
      ...category_id,
      references: { to: 'categories', on_delete: 'cascade' },
    }),
    [
      'category_id: no check that what it refers to is live',
      'category_id: no release when categories are deleted or restored',
      'category_id: no release when rows of categories are removed',
    ],
  ],
  [
    'a reference to a resource without support for references',
    withField('category_id', { ...category_id, references: { to: 'profile', on_delete: 'clear' } }),
    ['category_id: profile cannot be referred to'],
  ],
])('a definition with %s no longer fits its table', async (_what, changed, expected) => {
  expect(await differences(db, changed)).toEqual(expected)
})

test.each<[string, string, string[]]>([
  ['a column more', 'alter table tasks add column mood text', ['mood: not in the definition']],
  [
    'no column for marks',
    'alter table tasks drop column taken',
    ['taken: missing, expected bigint[] not null'],
  ],
  [
    'no feed index',
    'drop index tasks_feed',
    ['no unique index (user_id, seq) where seq is not null'],
  ],
  [
    'a feed index that is not unique',
    'drop index tasks_feed; create index tasks_feed on tasks (user_id, seq) where seq is not null',
    ['no unique index (user_id, seq) where seq is not null'],
  ],
  [
    'an index that could serve lookups by id',
    'create index tasks_title on tasks (user_id, title)',
    ['tasks_title: not partial'],
  ],
  ['no stamp on insert', 'drop trigger tasks_insert_stamp on tasks', ['no stamp before insert']],
  ['no stamp on update', 'drop trigger tasks_update_stamp on tasks', ['no stamp before update']],
  [
    'a disabled trigger',
    'alter table tasks disable trigger tasks_update_stamp',
    ['no stamp before update'],
  ],
  ['no date of tombstones', 'drop trigger tasks_tombstone on tasks', ['no date of tombstones']],
  ['no index of tombstones', 'drop index tasks_tombstones', ['no index of tombstones']],
  ['no horizon', 'drop trigger tasks_horizon on tasks', ['no horizon when rows are removed']],
  [
    'no foreign key',
    'alter table tasks drop constraint tasks_category_id',
    ['category_id: no deferred foreign key (user_id, category_id) to categories (user_id, id)'],
  ],
  [
    'a foreign key that is checked too early',
    `alter table tasks drop constraint tasks_category_id, add foreign key (user_id, category_id)
       references categories (user_id, id)`,
    ['category_id: no deferred foreign key (user_id, category_id) to categories (user_id, id)'],
  ],
  [
    'a reference without an index',
    'drop index tasks_category_id_refers',
    ['category_id: no index (user_id, category_id)'],
  ],
  [
    'a reference without a check',
    'drop trigger tasks_category_id_live on tasks',
    ['category_id: no check that what it refers to is live'],
  ],
  [
    'a reference that is not released by a deletion',
    'alter table categories disable trigger tasks_category_id_released',
    ['category_id: no release when categories are deleted or restored'],
  ],
  [
    'a reference that is not released when a row is removed',
    'drop trigger tasks_category_id_removed on categories',
    ['category_id: no release when rows of categories are removed'],
  ],
  [
    'a foreign key without the user',
    `alter table tasks drop constraint tasks_category_id;
     create unique index on categories (id);
     alter table tasks add foreign key (category_id) references categories (id)`,
    ['category_id: no deferred foreign key (user_id, category_id) to categories (user_id, id)'],
  ],
  [
    'another primary key',
    'alter table tasks drop constraint tasks_pkey cascade; alter table tasks add primary key (id)',
    ['primary key (id), expected (user_id, id)'],
  ],
  [
    'instants with microseconds',
    'alter table tasks alter column completed_at type timestamptz',
    ['completed_at: timestamp with time zone, expected timestamp(3) with time zone'],
  ],
])('a table with %s no longer fits its definition', async (_what, sql, expected) => {
  const trx = await db.transaction()
  try {
    await trx.raw(sql)
    expect(await differences(trx, tasks)).toEqual(expected)
  } finally {
    await trx.rollback()
  }
})

function withField(name: string, field: Resource['fields'][string]): Resource {
  const fields = { ...tasks.fields, [name]: field }
  return { ...tasks, fields, fieldNames: Object.keys(fields) }
}

function withoutField(name: string): Resource {
  return { ...tasks, fieldNames: tasks.fieldNames.filter((other) => other !== name) }
}

type Sql = Pick<Database, 'raw'>

/** Where the table of a resource is not what its definition asks for, in words. */
async function differences(sql: Sql, resource: Resource): Promise<string[]> {
  const found = await columnsIn(sql, resource)
  const expected = await expectedColumns(sql, resource)
  const names = [...new Set([...expected.keys(), ...found.keys()])]
  return [
    ...names.flatMap((name) => {
      const [is, should] = [found.get(name), expected.get(name)]
      if (is === should) return []
      if (should === undefined) return [`${name}: not in the definition`]
      return [`${name}: ${is ?? 'missing'}, expected ${should}`]
    }),
    ...(await keyDifferences(sql, resource)),
    ...(await referenceDifferences(sql, resource)),
    ...(await feedDifferences(sql, resource)),
  ]
}

/** The columns of a table by name, each in the words of SQL. */
async function columnsIn(sql: Sql, { table }: Resource): Promise<Map<string, string>> {
  const { rows } = await sql.raw(
    `select attname as name,
       format_type(atttypid, atttypmod)
       || coalesce((select ' of ' || string_agg(enumlabel, ' < ' order by enumsortorder)
                    from pg_enum where enumtypid = atttypid), '')
       || coalesce((select ' collate ' || collname
                    from pg_collation where oid = attcollation and collname <> 'default'), '')
       || case when attnotnull then ' not null' else '' end as words
     from pg_attribute where attrelid = to_regclass(?) and attnum > 0 and not attisdropped`,
    [table],
  )
  return new Map(rows.map(({ name, words }: Record<'name' | 'words', string>) => [name, words]))
}

async function expectedColumns(sql: Sql, resource: Resource): Promise<Map<string, string>> {
  const columns = new Map([
    ['user_id', 'uuid not null'],
    ['id', 'uuid not null'],
    ['deleted', 'boolean not null'],
    ['seq', 'bigint not null'],
    ['taken', 'bigint[] not null'],
    ['changed', 'jsonb not null'],
    ['deleted_at', 'timestamp(3) with time zone'],
  ])
  for (const name of columnsOf(resource).filter((name) => name !== 'id')) {
    const { kind, nullable, values } = fieldOf(resource, name)
    const precision = { instant: 3, time: 0 }[kind as string] ?? null
    const type = sqlType(resource, name)
    // As Postgres itself calls it: `timestamp(3) with time zone`.
    const { rows } = await sql.raw('select format_type(to_regtype(?), ?) as type', [
      type,
      precision,
    ])
    const order = values === undefined ? '' : ` of ${values.join(' < ')}`
    const words = `${rows[0].type}${order}${collation(resource, name)}`
    columns.set(name, nullable ? words : `${words} not null`)
  }
  return columns
}

/** Order keys compare by code unit; other text that people sort or search by, as people expect. */
function collation({ sortable, searchable, ...resource }: Resource, name: string): string {
  const kind = resource.fields[name]?.kind
  if (kind === 'order_key') return ' collate C'
  const isForPeople = sortable.includes(name) || searchable.includes(name)
  return kind === 'text' && isForPeople ? ' collate und-x-icu' : ''
}

async function keyDifferences(sql: Sql, resource: Resource): Promise<string[]> {
  const { rows } = await sql.raw(
    `select pg_get_constraintdef(oid) as definition from pg_constraint
     where conrelid = to_regclass(?) and contype = 'p'`,
    [resource.table],
  )
  const primary = rows[0]?.definition.toLowerCase()
  return primary === 'primary key (user_id, id)' ? [] : [`${primary}, expected (user_id, id)`]
}

/** What `add_reference` makes, for each field that refers to something. */
async function referenceDifferences(sql: Sql, resource: Resource): Promise<string[]> {
  const { table } = resource
  const differences: string[] = []
  for (const { field, target, onDelete } of referencesOf(resource)) {
    const { name, singleton, readOnly } = target
    if (singleton || readOnly) return [`${field}: ${name} cannot be referred to`]
    const { rows } = await sql.raw(
      `select pg_get_constraintdef(oid) as definition from pg_constraint
         where conrelid = to_regclass(:table) and contype = 'f'
       union all select pg_get_indexdef(indexrelid) from pg_index
         where indrelid = to_regclass(:table)
       union all select pg_get_triggerdef(oid) from pg_trigger
         where tgrelid in (to_regclass(:table), to_regclass(:target)) and tgenabled = 'O'`,
      { table, target: target.table },
    )
    const isThere = (...parts: string[]) =>
      rows.some(({ definition }: { definition: string }) =>
        parts.every((part) => definition.includes(part)),
      )
    const key = `FOREIGN KEY (user_id, ${field}) REFERENCES ${target.table}(user_id, id) DEFERRABLE INITIALLY DEFERRED`
    const events = onDelete === 'clear' ? field : `${field}, deleted`
    const release = `release_references('${table}', '${field}', '${onDelete}')`
    if (!isThere(key))
      differences.push(
        `${field}: no deferred foreign key (user_id, ${field}) to ${target.table} (user_id, id)`,
      )
    if (!isThere('CREATE INDEX', `(user_id, ${field})`))
      differences.push(`${field}: no index (user_id, ${field})`)
    if (
      !isThere(
        `AFTER INSERT OR UPDATE OF ${events} ON public.${table} DEFERRABLE INITIALLY DEFERRED`,
        `check_reference('${field}', '${target.table}', '${onDelete}')`,
      )
    )
      differences.push(`${field}: no check that what it refers to is live`)
    if (!isThere(`AFTER UPDATE OF deleted ON public.${target.table}`, release))
      differences.push(`${field}: no release when ${name} are deleted or restored`)
    if (!isThere(`AFTER DELETE ON public.${target.table}`, release))
      differences.push(`${field}: no release when rows of ${name} are removed`)
  }
  return differences
}

async function feedDifferences(sql: Sql, { table }: Resource): Promise<string[]> {
  const { rows: indexes } = await sql.raw(
    'select indexdef as definition from pg_indexes where tablename = ?',
    [table],
  )
  // Placeholders, and nothing else, may be left out of it.
  const unique = /^CREATE UNIQUE INDEX .* \(user_id, seq\) WHERE \(seq (IS NOT NULL|> 0)\)$/
  const whole = indexes
    .map(
      ({ definition }: { definition: string }) =>
        /INDEX (\w+) .* \(user_id, [^)]*\)$/.exec(definition)?.[1],
    )
    .filter((index: string | undefined) => index && index !== `${table}_pkey`)
  const { rows: triggers } = await sql.raw(
    `select pg_get_triggerdef(oid) as definition from pg_trigger
     where tgrelid = to_regclass(?) and tgenabled = 'O'`,
    [table],
  )
  const isThere = (text: string) =>
    triggers.some(({ definition }: { definition: string }) => definition.endsWith(text))
  const stamps = (event: string, when: string) =>
    isThere(
      `BEFORE ${event} ON public.${table} FOR EACH ROW WHEN (${when}) EXECUTE FUNCTION stamp_change()`,
    )
  const dates = `BEFORE INSERT OR UPDATE ON public.${table} FOR EACH ROW WHEN (new.deleted) EXECUTE FUNCTION date_tombstone()`
  const moves = `AFTER DELETE ON public.${table} REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION move_horizon()`
  const isIndexed = indexes.some(({ definition }: { definition: string }) =>
    definition.endsWith('(deleted_at) WHERE deleted'),
  )
  return [
    ...(indexes.some(({ definition }: { definition: string }) => unique.test(definition))
      ? []
      : ['no unique index (user_id, seq) where seq is not null']),
    ...whole.map((index: string) => `${index}: not partial`),
    ...(stamps('INSERT', '(new.seq IS NULL)') ? [] : ['no stamp before insert']),
    ...(stamps('UPDATE', '(new.seq = old.seq)') ? [] : ['no stamp before update']),
    ...(isThere(dates) ? [] : ['no date of tombstones']),
    ...(isIndexed ? [] : ['no index of tombstones']),
    ...(isThere(moves) ? [] : ['no horizon when rows are removed']),
  ]
}
