import type { Knex } from 'knex'

/**
 * A lookup by id read all documents of its user where Postgres had made the plan without statistics: then every
 * index that begins with the user looks as good as the primary key. These indexes are partial from now on. Any
 * comparison with their second column implies that it is not null, and a lookup by id has none.
 */
const INDEXES: readonly (readonly [name: string, unique: string, on: string, column: string])[] = [
  ['tasks_feed', 'unique', 'tasks', 'seq'],
  ['profiles_feed', 'unique', 'profiles', 'seq'],
  ['conflicts_feed', 'unique', 'conflicts', 'seq'],
  ['reminders_user_due', '', 'reminders', 'due_at'],
]

/** Parts of functions, and what they become: the same, but hidden from the predicates of partial indexes. */
const CHANGED: Readonly<Record<string, readonly (readonly [from: string, to: string])[]>> = {
  check_reference: [
    [
      `'select true from %I where user_id = $1 and id = $2 and deleted and seq > 0'`,
      `'select deleted and seq > 0 from %I where user_id = $1 and id = $2'`,
    ],
    [`if is_wrong is null then perform`, `if is_wrong is not true then perform`],
    [
      `'select true from %I where user_id = $1 and id = $2 and %I = $3 %s',
          own, field, case on_delete when 'cascade' then 'and not deleted' end)`,
      `'select %I = $3 %s from %I where user_id = $1 and id = $2',
          field, case on_delete when 'cascade' then 'and not deleted' end, own)`,
    ],
  ],
  // With its estimates, a nested loop may read all documents of the user for each of them.
  release_references: [
    [` LANGUAGE plpgsql\n`, ` LANGUAGE plpgsql\n SET enable_nestloop TO 'off'\n`],
    [
      `join %I was on was.user_id = $1 and was.id = one.id`,
      `join %I was on was.user_id = $1 and was.id = any ($2) and was.id = one.id`,
    ],
    [
      `where t.user_id = $1 and t.id = now.id`,
      `where t.user_id = $1 and t.id = any ($2) and t.id = now.id`,
    ],
    [
      `and d.deleted and d.seq > 0`,
      `and case when d.deleted and d.seq > 0 then true else false end`,
    ],
    [`and not was.deleted`, `and case when was.deleted then false else true end`],
  ],
}

export async function up(knex: Knex): Promise<void> {
  // Rows can be read while their new indexes are built.
  for (const [name, unique, table, column] of INDEXES)
    await knex.raw(
      `create ${unique} index ${name}_new on ${table} (user_id, ${column}) where ${column} is not null`,
    )
  for (const [name] of INDEXES)
    await knex.raw(`drop index ${name}; alter index ${name}_new rename to ${name}`)
  for (const [name, parts] of Object.entries(CHANGED)) await rewrite(knex, name, parts)
  await knex.raw(moments('case when t.completed or t.deleted then false else true end'))
  // Placeholders take the next number below; others are in the feed index of their table.
  await knex.raw('create index categories_placeholders on categories (user_id, seq) where seq <= 0')
}

export async function down(knex: Knex): Promise<void> {
  for (const [name, unique, table, column] of INDEXES)
    await knex.raw(
      `drop index ${name}; create ${unique} index ${name} on ${table} (user_id, ${column})`,
    )
  for (const [name, parts] of Object.entries(CHANGED))
    await rewrite(knex, name, parts.map(([from, to]) => [to, from] as const).reverse())
  await knex.raw(moments('not t.completed and not t.deleted'))
  await knex.raw('drop index categories_placeholders')
}

async function rewrite(
  knex: Knex,
  name: string,
  parts: readonly (readonly [from: string, to: string])[],
): Promise<void> {
  const { rows } = await knex.raw('select pg_get_functiondef(?::regproc) as text', [name])
  const text = parts.reduce((all, [from, to]) => {
    if (!all.includes(from)) throw new Error(`${name}: ${from} is not there`)
    return all.replaceAll(from, () => to)
  }, rows[0].text as string)
  await knex.raw(text)
}

/** Replacing a view drops its options: server/database/wall.ts has set this one where it stands. */
const moments = (isOpen: string) => `
    create or replace view reminder_moments with (security_invoker = true) as
      select t.user_id, t.id as task_id,
        case
          when t.remind_at is not null then t.remind_at
          when t.due_time is not null and p.remind_minutes_before is not null then
            -- In UTC, because arithmetic with timestamptz is not immutable.
            ((t.due_date + t.due_time) at time zone z.zone at time zone 'UTC'
              - make_interval(mins => p.remind_minutes_before)) at time zone 'UTC'
          when t.due_time is null and p.remind_all_day_at is not null then
            (t.due_date + p.remind_all_day_at) at time zone z.zone
        end as due_at
      from profiles p
        -- Once for each profile and not for each task.
        cross join lateral (select known_timezone(p.timezone) as zone offset 0) z
        join tasks t on t.user_id = p.user_id
      where ${isOpen}`
