import { v7 as uuidv7 } from 'uuid'
import { resources } from '../../protocol/index.ts'
import { connect, type Database } from '../../server/database/connect.ts'
import { migrate } from '../../server/database/migrate.ts'
import { pageSql } from '../../server/store/statements.ts'
import { summary } from '../latencies.ts'
import { addPerson, type Ground } from '../stage.ts'
import { band, decimals, median, table } from '../table.ts'
import { taskOf } from '../tasks.ts'
import type { Endpoint } from './device.ts'
import { type Device, startDevice } from './stage.ts'

const PAGE = 1_000
const OTHERS = 999
const PAGES_EACH = 20

interface Case {
  name: string
  endpoint: Endpoint
  /** Pages of Postgres that are looked at for one page of ours. */
  buffers: number
  p50: number[]
  p99: number[]
}

/**
 * A first page of 1,000 tasks from a table that holds nothing else, and from one of a million rows:
 * where the rows of the person lie together, and where everybody has written in turn.
 */
export async function measureTableSize(ground: Ground, rounds: number): Promise<string> {
  const device = startDevice(ground)
  const cases = [
    ...(await openTable(ground, 'small', async () => {})),
    ...(await openTable(ground, 'large', addOthers)),
  ]
  for (let round = -1; round < rounds; round++) {
    for (const each of round % 2 === 0 ? cases : cases.toReversed())
      await sample(device, each, round)
    process.stderr.write(`table ${round + 1}/${rounds}\r`)
  }
  const small = cases[0]!
  const rows = cases.map(({ name, buffers, p50, p99 }) => {
    const ratio = band(p50.map((value, round) => value / small.p50[round]!))
    return [
      name,
      decimals(median(p50), 1),
      decimals(median(p99), 1),
      `${decimals(ratio.median, 2)} (${decimals(ratio.min, 2)}-${decimals(ratio.max, 2)})`,
      String(buffers),
    ]
  })
  return `
A page of ${PAGE} tasks of ours, by the size of the table; ${rounds} rounds of ${PAGES_EACH} pages:

${table(['rows in the table', 'p50 ms', 'p99 ms', 'p50 of the smallest (min-max)', 'buffers'], rows)}`
}

async function sample(device: Device, { endpoint, p50, p99 }: Case, round: number): Promise<void> {
  const pages: number[] = []
  for (let i = 0; i < PAGES_EACH; i++) {
    const pulled = await device.pull({ ...endpoint, limit: PAGE })
    if (pulled.count !== PAGE) throw new Error(`${pulled.count} tasks came, not ${PAGE}`)
    pages.push(pulled.pages[0]!)
  }
  const latencies = summary(pages)
  if (round < 0) return
  p50.push(latencies.p50)
  p99.push(latencies.p99)
}

/** A database with a server of its own. */
async function openTable(
  ground: Ground,
  database: string,
  fill: (db: Database) => Promise<void>,
): Promise<Case[]> {
  await ground.db.raw(`create database ${database}`)
  const url = ground.urlOf(database)
  const db = connect({ url, poolSize: 2, tls: 'off', statementTimeoutMs: 0 })
  try {
    await migrate(db)
    const inTurn = await addPerson(db, 'in_turn', [])
    await fill(db)
    const tasks = Array.from({ length: PAGE }, (_, n) => taskOf(uuidv7(), n))
    const together = await addPerson(db, 'together', tasks)
    await db.raw('vacuum analyze')
    const { url: origin } = await ground.startOurs(undefined, { DATABASE_URL: url })
    const caseOf = async (name: string, { id, access }: { id: string; access: string }) => ({
      name,
      endpoint: { url: `${origin}/replication/tasks/0`, access },
      buffers: await buffersOf(db, id),
      p50: [],
      p99: [],
    })
    const { count } = (await db('tasks').count<{ count: string }[]>().first())!
    const size = Number(count).toLocaleString('en')
    const cases = [await caseOf(size, together)]
    if (Number(count) > PAGE) cases.push(await caseOf(`${size}, written in turn`, inTurn))
    return cases
  } finally {
    await db.destroy()
  }
}

/** Everybody who is there and many others get their tasks, one each and then the next. */
async function addOthers(db: Database): Promise<void> {
  await db.transaction(async (trx) => {
    await trx.raw(
      `insert into users (id, username, email, password_hash)
       select gen_random_uuid(), 'other' || n, 'other' || n || '@example.com', ''
       from generate_series(1, ?) n`,
      [OTHERS - 1],
    )
    await trx.raw('update feeds set seq = ?', [PAGE])
    // Without the checks and stamps of each row, which would take most of the time.
    await trx.raw('set local session_replication_role = replica')
    const document = taskOf(uuidv7(), 1)
    const columns = Object.keys(document).filter((column) => column !== 'id')
    await trx.raw(
      `insert into tasks (user_id, id, ${columns.join(', ')}, deleted, seq)
       select f.user_id, gen_random_uuid(), ${columns.map((column) => `t.${column}`).join(', ')}, false, n
       from generate_series(1, ?) n cross join feeds f
         cross join json_populate_record(null::tasks, ?) t
       order by n, f.user_id`,
      [PAGE, JSON.stringify(document)],
    )
  })
}

async function buffersOf(db: Database, user: string): Promise<number> {
  const values = [`'${user}'`, 0, PAGE, 0]
  const text = pageSql(resources.tasks).text.replace(/\$(\d)/g, (_, nth) => `${values[nth - 1]}`)
  const explained = await db.raw(`explain (analyze, buffers, format json) ${text}`)
  const { Plan: plan } = explained.rows[0]['QUERY PLAN'][0]
  return plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
}
