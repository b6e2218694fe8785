import { v7 as uuidv7 } from 'uuid'
import {
  type EventKind,
  type ExportedEvent,
  Problem,
  type SecurityEvent,
} from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { deviceOf } from './devices.ts'

/** Where a request comes from. Empty for the command line. */
export interface Origin {
  readonly address?: string
  /** The address without what tells people of one network apart. */
  readonly network?: string
  /** The widest network of one person or household: turns for scarce work are taken by it. */
  readonly site?: string
  readonly user_agent?: string
  readonly request_id?: string
}

interface NewEvent {
  /** The account that it happened to. */
  user: string
  kind: EventKind
  /** Default: `done`. */
  outcome?: SecurityEvent['outcome']
  /** Who did it, if it was not the owner. */
  actor?: string | undefined
  origin: Origin
  /** Words of ours, never secrets or input. */
  details?: Readonly<Record<string, string>>
}

/** Like events of the same origin within this time are one row. */
const FOLDED_MS = 60 * 60 * 1000
/**
 * The rows of one kind and outcome that an account keeps. So a stranger with many networks can push out
 * only events of the kind that strangers cause, and no account grows without limit.
 */
const KEPT_OF_A_KIND = 50
const EXPORTED_AT_ONCE = 500

/** Security events: written to the log, and kept for the owner of the account. */
export function createEvents(db: Database, log: Pick<Log, 'info' | 'warn'>, now: () => Date) {
  return {
    record,

    recordIfPossible,

    /** Records that work is refused, if it is. */
    async recordRefusal<T>(event: NewEvent, work: () => Promise<T>): Promise<T> {
      return work().catch(async (error) => {
        if (error instanceof Problem && error.code === 'invalid')
          await recordIfPossible({ ...event, outcome: 'refused' })
        throw error
      })
    },

    /** Logs what was tried with an account that does not exist. The name is not logged: it may be a password. */
    logUnknown(kind: EventKind, origin: Origin): void {
      log.info({ event: kind, outcome: 'refused', ...inWords(origin) }, 'security event')
    },

    /** A page of a user's events, the newest first. */
    async list(user: string, limit: number, offset: number) {
      const found = () => db('account_events').where({ user_id: user })
      const [counted] = await found().count<{ count: string }[]>()
      const rows = await found()
        .orderBy([
          { column: 'last_at', order: 'desc' },
          { column: 'id', order: 'desc' },
        ])
        .limit(limit)
        .offset(offset)
        .select<Row[]>(COLUMNS)
      return { count: Number(counted!.count), results: rows.map(inJson) }
    },

    /** The events of all accounts since then, the oldest first. Holds no connection between pages. */
    async *all(since: Date): AsyncGenerator<ExportedEvent[]> {
      for (let after: readonly [Date, string] = [since, BEFORE_ALL]; ; ) {
        const rows = await db('account_events')
          .whereRaw('(last_at, id) > (?, ?)', after)
          .orderBy(['last_at', 'id'])
          .limit(EXPORTED_AT_ONCE)
          .select<(Row & { user_id: string; actor_id: string | null })[]>(
            'user_id',
            'actor_id',
            ...COLUMNS,
          )
        const last = rows.at(-1)
        if (!last) return
        yield rows.map(({ user_id, actor_id, ...row }) => ({
          account_id: user_id,
          actor_id,
          ...inJson(row),
        }))
        after = [last.last_at, last.id]
      }
    },
  }

  /** Like `record`, outside of a transaction and for what must not fail because of it. */
  async function recordIfPossible(event: NewEvent): Promise<void> {
    await record(db, event).catch((error) =>
      log.warn({ error, kind: event.kind, account: event.user }, 'an event was not recorded'),
    )
  }

  /** Records an event, in the transaction of what happened. */
  async function record(trx: Database, event: NewEvent): Promise<void> {
    const { user, kind, outcome = 'done', actor, origin, details = {} } = event
    const words = inWords(origin)
    const account = { account: user, ...(actor && { actor }) }
    log.info({ event: kind, outcome, ...account, ...details, ...words }, 'security event')
    const moment = now()
    await trx.raw(RECORD, {
      id: uuidv7(),
      user,
      kind,
      outcome,
      actor: actor ?? null,
      network: words.network ?? null,
      device: words.device ?? null,
      request_id: words.request_id ?? null,
      details: JSON.stringify(details),
      moment,
      since: new Date(moment.getTime() - FOLDED_MS),
      kept: KEPT_OF_A_KIND - 1,
    })
  }
}

export type Events = ReturnType<typeof createEvents>

/** Deletes events that are over. */
export async function deleteOldEvents(db: Database, before: Date): Promise<void> {
  await db('account_events').where('last_at', '<', before).delete()
}

/** Rows that others are deleting are skipped, so that nobody waits and no two can deadlock. */
const RECORD = `
  with again as (
    update account_events set times = times + 1, last_at = :moment, request_id = :request_id
    where user_id = :user and id = (
      select id from account_events
      where user_id = :user and kind = :kind and outcome = :outcome and details = :details::jsonb
        and actor_id is not distinct from :actor::uuid and network is not distinct from :network::text
        and device is not distinct from :device::text and created_at > :since
      order by created_at desc limit 1)
    returning id
  ), oldest as (
    delete from account_events where user_id = :user and not exists (select from again) and id in (
      select id from account_events where user_id = :user and kind = :kind and outcome = :outcome
      order by last_at desc, id desc offset :kept for update skip locked)
  )
  insert into account_events (
    user_id, id, kind, outcome, actor_id, network, device, details, request_id, times, created_at, last_at)
  select :user::uuid, :id::uuid, :kind::text, :outcome::text, :actor::uuid, :network::text, :device::text,
    :details::jsonb, :request_id::text, 1, :moment::timestamptz, :moment::timestamptz
  where not exists (select from again) and exists (select from users where id = :user)`

const COLUMNS = [
  'id',
  'kind',
  'outcome',
  'network',
  'device',
  'details',
  'request_id',
  'times',
  'created_at',
  'last_at',
] as const

/** Less than any id. */
const BEFORE_ALL = '00000000-0000-0000-0000-000000000000'

type Row = Omit<SecurityEvent, 'created_at' | 'last_at'> & { created_at: Date; last_at: Date }

const inJson = (row: Row): SecurityEvent => ({
  ...row,
  created_at: row.created_at.toISOString(),
  last_at: row.last_at.toISOString(),
})

function inWords({ network, user_agent, request_id }: Origin) {
  return {
    ...(network && { network }),
    ...(user_agent !== undefined && { device: deviceOf(user_agent) }),
    ...(request_id && { request_id }),
  }
}
