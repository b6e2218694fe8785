import {
  type Account,
  type Invitation,
  type ManagedAccount,
  Problem,
  type Role,
} from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { type Mail, post } from '../mail/outbox.ts'
import { type Accounts, kindOf, type Registration } from './accounts.ts'
import { type Actor, type AuditedAction, record } from './audit.ts'
import type { Events } from './events.ts'
import { forgetAttempts } from './factor-attempts.ts'
import { notifyOfFactor } from './factor-notices.ts'
import { removeFactors } from './factors.ts'
import type { Invites } from './invites.ts'
import type { Links } from './links.ts'
import { mayMail, tooMuchMail } from './mail-allowance.ts'
import { confirmationOf } from './mail-data.ts'
import { userNamed } from './names.ts'
import type { Passwords } from './passwords.ts'
import { may, type Permission } from './permissions.ts'
import type { Sessions } from './sessions.ts'
import { weakness } from './weak-passwords.ts'

export interface AccountFilter {
  /** The beginning of the username or the address. */
  search?: string
  role?: Role
  is_active?: boolean
}

const COLUMNS = [
  'id',
  'username',
  'email',
  'email_verified_at',
  'role',
  'is_active',
  'deleted_at',
] as const

interface Row {
  id: string
  username: string
  email: string | null
  email_verified_at: Date | null
  role: Role
  is_active: boolean
  created_at: Date
  deleted_at: Date | null
  last_seen_at: Date | null
}

type Query = ReturnType<Database>

interface Dependencies {
  db: Database
  accounts: Pick<Accounts, 'register'>
  passwords: Passwords
  sessions: Pick<Sessions, 'endAll' | 'announceEnd' | 'forgetStanding'>
  links: Links
  invites: Pick<Invites, 'create'>
  events: Pick<Events, 'record'>
  now: () => Date
}

/** Administrative actions on accounts, with an audit entry for each. */
export function createAdministration({
  db,
  accounts,
  passwords,
  sessions,
  links,
  invites,
  events,
  now,
}: Dependencies) {
  return {
    /** A page of accounts, the newest first. The owner of each can see who has read it. */
    async list(actor: Actor, filter: AccountFilter, limit: number, offset: number) {
      const page = await db.transaction(async (trx) => {
        // A filter may match nearly all accounts or nearly none, so a generic plan does not fit.
        await trx.raw('set local plan_cache_mode = force_custom_plan')
        const found = () => matching(trx('users'), filter)
        const [counted] = await found().count<{ count: string }[]>()
        const rows = await shown(found()).orderBy('id', 'desc').limit(limit).offset(offset)
        return { count: Number(counted!.count), results: rows.map(inJson) }
      })
      for (const { id } of page.results) await recordRead(actor, id)
      return page
    },

    /** An account. Its owner can see who has read it. */
    async read(actor: Actor, id: string): Promise<ManagedAccount | undefined> {
      const account = await find(id)
      if (account) await recordRead(actor, id)
      return account
    },

    /** The account with this username or email address. */
    async named(name: string): Promise<ManagedAccount | undefined> {
      const id = await userNamed(db, kindOf(name), name.normalize('NFKC'))
      return id === undefined ? undefined : find(id)
    },

    /** Creates an account with a role. */
    create(actor: Actor, registration: Registration, role: Role): Promise<Account> {
      const alongside = async (trx: Database, account: Account) => {
        await trx('users').where({ id: account.id }).update({ role })
        const entry = {
          actor,
          by: undefined,
          action: 'create',
          account,
          details: { role },
        } as const
        await record(trx, entry, now())
      }
      return accounts.register(registration, { origin: actor, byOperator: true, alongside })
    },

    /**
     * Invites somebody to register.
     *
     * @param email the only address that may use the invitation
     */
    async invite(actor: Actor, email?: string): Promise<Invitation> {
      const { id, token, expires } = invites.create({ by: actor.user, email })
      const admin = actor.user && (await find(actor.user))
      const account = { id, username: email ?? 'anybody with the link' }
      const by = admin ? admin.username : undefined
      await record(db, { actor, by, action: 'invite', account }, now())
      return { invite: token, expires_at: new Date(expires).toISOString() }
    },

    /** Ends all sessions and prevents sign-in. No data is lost. */
    async deactivate(actor: Actor, id: string): Promise<void> {
      await act(actor, id, 'accounts.deactivate', async (trx, account) => {
        if (id === actor.user)
          throw new Problem('invalid', 'You cannot deactivate your own account; ask another admin.')
        if (!account.is_active) return undefined
        await trx('users').where({ id }).update({ is_active: false })
        const ended = await sessions.endAll(trx, id)
        return { action: 'deactivate', ended, mail: { letter: 'account_deactivated' } }
      })
    },

    async reactivate(actor: Actor, id: string): Promise<void> {
      await act(actor, id, 'accounts.deactivate', async (trx, account) => {
        if (account.is_active) return undefined
        await trx('users').where({ id }).update({ is_active: true })
        return { action: 'reactivate' }
      })
    },

    async changeRole(actor: Actor, id: string, role: Role): Promise<void> {
      await act(actor, id, 'accounts.change_role', async (trx, account) => {
        if (id === actor.user)
          throw new Problem('invalid', 'You cannot change your own role; ask another admin.')
        if (account.role === role) return undefined
        await trx('users').where({ id }).update({ role })
        return { action: 'change_role', details: { from: account.role, to: role } }
      })
    },

    async endSessions(actor: Actor, id: string): Promise<void> {
      await act(actor, id, 'accounts.end_sessions', async (trx) => {
        const ended = await sessions.endAll(trx, id)
        return { action: 'end_sessions', ended, details: { sessions: ended.length } }
      })
    },

    /** Resends the confirmation mail. */
    async resendConfirmation(actor: Actor, id: string): Promise<void> {
      await act(actor, id, 'accounts.resend_confirmation', async (trx, account) => {
        if (!account.is_active)
          throw new Problem('invalid', 'The account is deactivated; reactivate it first.')
        if (account.email_verified_at)
          throw new Problem('invalid', 'The address is already confirmed.')
        const { email } = account
        if (email === null)
          throw new Problem(
            'invalid',
            'The account has no address: its owner has said that this is not their account.',
          )
        if (!(await mayMail(trx, email, now()))) throw tooMuchMail()
        const link = await links.create(trx, { user: id, purpose: 'confirm_email', email })
        return { action: 'resend_confirmation', mail: confirmationOf(id, email, link) }
      })
    },

    /**
     * For somebody who has lost their phone, from the command line only: who asks has to be known in another
     * way. Ends all sessions, as whoever has the phone may be signed in.
     *
     * @returns how many factors were removed
     */
    async removeFactors(account: ManagedAccount): Promise<number> {
      const { id } = account
      let removed = 0
      await act({}, id, undefined, async (trx, owner) => {
        removed = await removeFactors(trx, id)
        if (removed === 0) return undefined
        await notifyOfFactor(trx, owner, { change: 'factors_removed' }, now())
        const ended = await sessions.endAll(trx, id)
        return { action: 'remove_factors', ended, details: { factors: removed } }
      })
      return removed
    },

    /** For emergencies, from the command line only. Ends all sessions. */
    async resetPassword(account: ManagedAccount, password: string): Promise<void> {
      const weak = weakness(password, account)
      if (weak) throw new Problem('invalid', weak)
      const password_hash = await passwords.hash(password)
      const { id } = account
      await act({}, id, undefined, async (trx) => {
        await trx('users').where({ id }).update({ password_hash })
        await links.end(trx, id, 'reset_password')
        await forgetAttempts(trx, id)
        // An attacker may have started to change the address to their own.
        await links.end(trx, id, 'confirm_email', { except: account.email })
        const ended = await sessions.endAll(trx, id)
        return { action: 'reset_password', ended, mail: { letter: 'password_changed' } }
      })
    },
  }

  /** The command line reads as the operator, who can read everything anyway. */
  async function recordRead(actor: Actor, user: string): Promise<void> {
    if (!actor.user || actor.user === user) return
    await events.record(db, { user, kind: 'read_by_staff', actor: actor.user, origin: actor })
  }

  async function find(id: string): Promise<ManagedAccount | undefined> {
    const [row] = await shown(db('users').where({ id }))
    return row && inJson(row)
  }

  function matching(query: Query, { search, role, is_active }: AccountFilter): Query {
    if (search !== undefined) {
      // Ranges can use the index in any collation of the database.
      const begins = (column: string) =>
        `lower(${column}) collate "C" between lower(:search) and lower(:search) || chr(1114111)`
      query.whereRaw(`(${begins('username')} or ${begins('email')})`, { search })
    }
    if (role !== undefined) query.where({ role })
    if (is_active !== undefined) query.whereRaw(is_active ? 'is_active' : 'not is_active')
    return query
  }

  function shown(query: Query) {
    return query.select<Row[]>(
      ...COLUMNS,
      'created_at',
      db.raw('(select max(last_seen_at) from sessions where user_id = users.id) as last_seen_at'),
    )
  }

  /**
   * Performs an action on an account and writes its audit entry, in one transaction. Also locks the
   * actor's row, so an actor who loses the permission at the same time cannot act any more. This keeps
   * at least one active admin: the one who acted last. Only the command line can remove the last one.
   *
   * @param permission undefined for the command line
   * @throws Problem `not_found`; `forbidden` if the actor has lost the permission
   */
  async function act(
    actor: Actor,
    id: string,
    permission: Permission | undefined,
    work: (trx: Database, account: Row) => Promise<ActionResult | undefined>,
  ): Promise<void> {
    const result = await db.transaction(async (trx) => {
      const locked = new Map<string, Row | undefined>()
      // In order, so that two admins who act on each other cannot deadlock.
      for (const one of new Set([id, actor.user ?? id].sort()))
        locked.set(one, await lock(trx, one))
      const by = actor.user ? locked.get(actor.user) : undefined
      if (actor.user && !(by?.is_active && permission && may(by.role, permission)))
        throw new Problem('forbidden', 'You no longer have the permission for this.')
      const account = locked.get(id)
      if (!account)
        throw new Problem('not_found', 'No account has this id; list the accounts for their ids.')
      if (account.deleted_at)
        throw new Problem('invalid', 'The account has been deleted; its data is being erased.')
      const done = await work(trx, account)
      if (!done) return undefined
      const { action, details } = done
      await record(
        trx,
        { actor, by: by?.username, action, account, ...(details && { details }) },
        now(),
      )
      const event = {
        user: id,
        kind: 'changed_by_staff',
        actor: actor.user,
        origin: actor,
      } as const
      await events.record(trx, { ...event, details: { action } })
      if (done.mail) await post(trx, mailsTo(account, done.mail), now())
      return done
    })
    if (!result) return
    sessions.announceEnd(result.ended ?? [])
    sessions.forgetStanding(id)
  }

  function lock(trx: Database, id: string) {
    return trx('users')
      .where({ id })
      .forNoKeyUpdate()
      .first<Row | undefined>([...COLUMNS, 'created_at'])
  }

  function mailsTo(account: Row, mail: Notice | Mail): Mail[] {
    if ('cause' in mail) return [mail]
    const { id: user, email: to } = account
    if (to === null) return []
    return [{ cause: `${mail.letter} ${user} ${now().toISOString()}`, user, to, ...mail }]
  }
}

export type Administration = ReturnType<typeof createAdministration>

interface Notice {
  letter: 'account_deactivated' | 'password_changed'
}

interface ActionResult extends AuditedAction {
  /** The ids of the ended sessions. */
  ended?: string[]
  mail?: Notice | Mail
}

function inJson(row: Row): ManagedAccount {
  return {
    ...row,
    email: row.email ?? '',
    email_verified_at: row.email_verified_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
    deleted_at: row.deleted_at?.toISOString() ?? null,
    last_seen_at: row.last_seen_at?.toISOString() ?? null,
  }
}
