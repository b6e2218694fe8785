import { type Database, run } from '../database/connect.ts'
import { post } from '../mail/outbox.ts'
import type { Config } from '../runtime/config.ts'
import { record, THE_SERVER } from './audit.ts'
import { beginDeletion } from './deletion.ts'
import type { Events } from './events.ts'
import type { Links } from './links.ts'
import { mayWarn } from './mail-allowance.ts'

export const CHECK_UNCONFIRMED = 'check_unconfirmed'

/** What holds for accounts that have to confirm their address and have not. */
export interface ConfirmationRules {
  /** After so many days they are deleted; 0 for never. */
  days: number
}

/** @returns undefined where the server sends no mail: nobody could confirm anything */
export function confirmationRules({
  SMTP_URL,
  UNCONFIRMED_DAYS: days,
}: Pick<Config, 'SMTP_URL' | 'UNCONFIRMED_DAYS'>): ConfirmationRules | undefined {
  return SMTP_URL === undefined ? undefined : { days }
}

/**
 * SQL: whether a user (`users u`) has to confirm the address and has not. An admin who gives somebody a role
 * knows them.
 */
export const IS_UNCONFIRMED = "(u.must_confirm and u.email_verified_at is null and u.role = 'user')"

const DAY_MS = 24 * 60 * 60 * 1000
/** How long before the deletion the mail is sent, at least: this, or half of the time. */
const WARNED_DAYS = 7
/** An account that could not be warned for so long is kept: its mailbox refuses mail, or has many accounts. */
const GIVEN_UP_DAYS = 60
/** The link is valid for longer than the account, because a mail may be sent days late. */
const LATE_DAYS = 4
/** The template of the mail; its cause has the user besides. */
const WARNING = 'unconfirmed_account'
const BATCH = 500

interface Unconfirmed {
  created: Date
  /** The mail, if there is one, and when it was sent. */
  warning?: { outcome: 'sent' | 'unwanted' | 'refused' | null; settled: Date | null } | undefined
}

/** When an account is deleted unless its address is confirmed; undefined if it is not. */
export function deletionDate(
  { created, warning }: Unconfirmed,
  { days }: ConfirmationRules,
  now: Date,
): Date | undefined {
  if (days === 0 || warning?.outcome === 'refused' || warning?.outcome === 'unwanted')
    return undefined
  const due = after(created, days)
  const notBefore = after(warning?.settled ?? now, noticeOf(days))
  const date = due > notBefore ? due : notBefore
  return date > after(due, GIVEN_UP_DAYS) ? undefined : date
}

/** The same of an account in the database. */
export async function deletionOf(
  db: Database,
  user: string,
  rules: ConfirmationRules | undefined,
  now: Date,
): Promise<Date | undefined> {
  const account = rules && (await find(db, user, ACCOUNT))
  return account && deletionDate(account, rules, now)
}

interface Dependencies {
  db: Database
  links: Pick<Links, 'create'>
  events: Pick<Events, 'record'>
  confirmation: ConfirmationRules | undefined
  now: () => Date
}

/**
 * The job that warns the owners of unconfirmed accounts by mail, and deletes the accounts that were warned in
 * time. Devices keep what they have: an address that was mistyped must not cost anybody their data.
 * It can be interrupted at any point, and run by several workers at once.
 */
export function unconfirmedCheck({ db, links, events, confirmation, now }: Dependencies) {
  return async (): Promise<void> => {
    if (!confirmation || confirmation.days === 0) return
    const { days } = confirmation
    const notice = noticeOf(days)
    const moment = now()
    const bounds = [-days, notice - days, -notice].map((count) => after(moment, count))
    for (let last: [string, Date] = [BEFORE_ALL, after(moment, -days - GIVEN_UP_DAYS)]; ; ) {
      const batch = await run<[string, Date]>(db, WAITING, [...last, ...bounds])
      for (const [user] of batch) await db.transaction((trx) => check(trx, user, confirmation))
      if (batch.length < BATCH) return
      last = batch.at(-1)!
    }
  }

  async function check(trx: Database, user: string, rules: ConfirmationRules): Promise<void> {
    // Confirming locks the account, too: it is kept, or the link is not valid any more.
    const account = await find(trx, user, LOCKED_ACCOUNT)
    const date = account && deletionDate(account, rules, now())
    if (!date) return
    if (!account.warning) await warn(trx, user, account.email, date)
    else if (date <= now()) {
      const { username } = account
      const details = { reason: 'unconfirmed' }
      await events.record(trx, { user, kind: 'deletion', origin: {}, details })
      const action = 'delete_unconfirmed'
      const entry = { actor: {}, by: THE_SERVER, action, account: { id: user, username } } as const
      await record(trx, entry, now())
      await beginDeletion(trx, user, now())
    }
  }

  async function warn(trx: Database, user: string, email: string, date: Date): Promise<void> {
    if (!(await mayWarn(trx, email, now()))) return // the next run tries again
    const until = after(date, LATE_DAYS)
    const link = await links.create(trx, { user, purpose: 'confirm_email', email, until })
    const mail = {
      cause: `${WARNING} ${user}`,
      user,
      to: email,
      letter: WARNING,
      data: { link },
    } as const
    await post(trx, [mail], now())
  }
}

/**
 * After a restore: the confirmation of an account that was warned before the backup may be lost, so it is warned
 * again, and its owner has another week.
 */
export async function forgetWarnings(trx: Database): Promise<void> {
  await trx('mails').where({ letter: WARNING }).delete()
}

const noticeOf = (days: number) => Math.min(WARNED_DAYS, days / 2)

const after = (moment: Date, days: number) => new Date(moment.getTime() + days * DAY_MS)

interface Found extends Unconfirmed {
  username: string
  email: string
}

async function find(
  db: Database,
  user: string,
  statement: typeof ACCOUNT,
): Promise<Found | undefined> {
  const [row] = await run<FoundRow>(db, statement, [user])
  if (!row) return undefined
  const [username, email, created, isWarned, outcome, settled] = row
  return { username, email, created, warning: isWarned ? { outcome, settled } : undefined }
}

type Warning = NonNullable<Unconfirmed['warning']>
type FoundRow = [string, string, Date, boolean, Warning['outcome'], Warning['settled']]

/** `$1` user. */
const ACCOUNT = {
  name: 'unconfirmed_account',
  text: `
    select u.username, u.email, u.created_at, m.id is not null, m.outcome, m.settled_at
    from users u left join mails m on m.user_id = u.id and m.cause = '${WARNING} ' || u.id
    where u.id = $1 and ${IS_UNCONFIRMED} and u.email is not null and u.is_active`,
}

/** Whoever is changing the account is not waited for. */
const LOCKED_ACCOUNT = {
  name: 'locked_unconfirmed_account',
  text: `${ACCOUNT.text} for no key update of u skip locked`,
}

/** Less than any id. */
const BEFORE_ALL = '00000000-0000-0000-0000-000000000000'

/**
 * `$1`, `$2` the last account of the batch before; created by `$3` to be deleted, by `$4` to be warned; warned by
 * `$5`. Those whose mail is under way, or was refused, are left out.
 */
const WAITING = {
  name: 'unconfirmed_accounts',
  text: `
    select u.id, u.created_at from users u
    where ${IS_UNCONFIRMED} and u.email is not null and u.is_active
      and (u.created_at, u.id) > ($2, $1) and u.created_at <= $4
      and not exists (
        select from mails m where m.user_id = u.id and m.cause = '${WARNING} ' || u.id
          and (m.outcome is distinct from 'sent' or m.settled_at > $5 or u.created_at > $3))
    order by u.created_at, u.id limit ${BATCH}`,
}
