import { v7 as uuidv7 } from 'uuid'
import type { Action, AuditEntry } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Origin } from './events.ts'

/** The actor of an audit entry. */
export interface Actor extends Origin {
  /** The id of the caller; undefined for the command line and the server. */
  readonly user?: string
}

/** Cannot be usernames, because they contain a space. */
const COMMAND_LINE = 'command line'
export const THE_SERVER = 'the server'

/** An action on an account. */
export interface AuditedAction {
  action: Action
  details?: AuditEntry['details']
}

interface NewAuditEntry extends AuditedAction {
  actor: Actor
  /** The username of the actor. Default: the command line. */
  by: string | undefined
  account: { id: string; username: string }
}

/** Writes an audit entry, in the transaction of its action. */
export async function record(
  trx: Database,
  { actor, by = COMMAND_LINE, action, account, details = {} }: NewAuditEntry,
  now: Date,
): Promise<void> {
  await trx('audit_log').insert({
    id: uuidv7(),
    actor_id: actor.user,
    actor: by,
    action,
    account_id: account.id,
    account: account.username,
    details,
    request_id: actor.request_id,
    address: actor.address,
    created_at: now,
  })
}

export interface AuditFilter {
  account_id?: string
  actor_id?: string
  action?: Action
}

/** The audit log. */
export function createAudit(db: Database) {
  return {
    /** A page of entries, the newest first. */
    async list(filter: AuditFilter, limit: number, offset: number) {
      const found = () => db('audit_log').where(filter)
      const [counted] = await found().count<{ count: string }[]>()
      const rows = await found()
        .orderBy([
          { column: 'created_at', order: 'desc' },
          { column: 'id', order: 'desc' },
        ])
        .limit(limit)
        .offset(offset)
        .select<(Omit<AuditEntry, 'created_at'> & { created_at: Date })[]>()
      const results = rows.map(
        (row): AuditEntry => ({ ...row, created_at: row.created_at.toISOString() }),
      )
      return { count: Number(counted!.count), results }
    },
  }
}

export type Audit = ReturnType<typeof createAudit>
