import { type Resource, referencesOf, resources } from '../../protocol/index.ts'
import type { Database } from '../../server/database/connect.ts'
import { raiseWall } from '../../server/database/wall.ts'
import { sqlType } from '../../server/store/columns.ts'

/**
 * Adds a resource as a line in `resources` would. Statements and routes are made from that when the
 * server is imported and started, so both come afterwards.
 */
export function addResource(resource: Resource): void {
  Object.assign(resources, { [resource.name]: resource })
}

/** Its table, as its migration and the migrator would make it. */
export async function createTable(db: Database, resource: Resource): Promise<void> {
  const { table, fieldNames, fields } = resource
  const columns = fieldNames.map((name) => {
    const { nullable } = fields[name]!
    return `${name} ${sqlType(resource, name)} ${nullable ? '' : 'not null'},`
  })
  await db.raw(`
    create table ${table} (
      user_id    uuid           not null,
      id         uuid           not null,
      ${columns.join('\n')}
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      deleted    boolean        not null default false,
      seq        bigint         not null,
      taken      bigint[]       not null default '{}',
      changed    jsonb          not null default '{}',
      primary key (user_id, id)
    );
    create unique index ${table}_feed on ${table} (user_id, seq) where seq is not null;
    create trigger ${table}_insert_stamp before insert on ${table}
      for each row when (new.seq is null) execute function stamp_change();
    create trigger ${table}_update_stamp before update on ${table}
      for each row when (new.seq = old.seq) execute function stamp_change();
  `)
  for (const { field, target, onDelete } of referencesOf(resource))
    await db.raw('select add_reference(?, ?, ?, ?)', [table, field, target.table, onDelete])
  await raiseWall(db)
}
