import { type Resource, resources } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { queueOf } from '../database/pool.ts'
import type { ReadFeed } from '../sync/store.ts'
import { documentSql } from './columns.ts'
import { type FeedRow, feedOf } from './rows.ts'
import { FEED_COLUMNS, MAX_PAGE_BYTES, named } from './statements.ts'
import { createTurns } from './turns.ts'

const PAGES_AT_ONCE = 2

type Row = [
  ...FeedRow,
  resource: string | null,
  id: string,
  seq: string,
  json: string | null,
  isLast: boolean,
]

/** The feed of several resources in Postgres. */
export function feedReader(db: Database): ReadFeed {
  const takeTurn = createTurns({ lanes: PAGES_AT_ONCE, pool: queueOf(db) })
  return async (user, wanted, seq, limit) => {
    const names = wanted.map(({ name }) => name)
    const rows = await takeTurn(user, () => run<Row>(db, statement, [user, seq, limit, names]))
    const [first] = rows
    if (!first) return undefined
    const [epoch, head, past, , , , , isLast] = first
    const changes = rows.flatMap(([, , , resource, id, seq, json]) =>
      resource === null ? [] : [{ resource, id, seq: Number(seq), json }],
    )
    return { changes, isLast, feed: feedOf(epoch, head, past) }
  }
}

/** One more of each than are asked for shows whether there are more. */
const changesOf = (resource: Resource) => `(
  select '${resource.name}' as resource, t.id, t.seq,
    case when not t.deleted then ${documentSql(resource)}::text end as json
  from ${resource.table} t
  where t.user_id = $1 and t.seq > $2 and '${resource.name}' = any ($4::text[])
  order by t.seq limit $3::int + 1)`

/** `$1` user, `$2` seq, `$3` limit, `$4` names of resources. */
const statement = named(`
  with found as materialized (
    select c.*, row_number() over feed as nth,
      coalesce(sum(octet_length(c.json)) over (feed rows between unbounded preceding and 1 preceding), 0) as before
    from (${Object.values<Resource>(resources).map(changesOf).join(' union all ')}) c
    window feed as (order by c.seq)
  ), page as (
    select * from found where nth <= $3::int and (nth = 1 or before < ${MAX_PAGE_BYTES})
  )
  select ${FEED_COLUMNS}, p.resource, p.id, p.seq, p.json,
    (select count(*) from page) = (select count(*) from found)
  from feeds f left join page p on true
  where f.user_id = $1
  order by p.seq`)
