import type { Database } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { type Mailer, MailRefused } from './mailer.ts'
import { render } from './render.ts'
import { fillIn } from './templates/index.ts'
import type { TemplateData, TemplateName } from './templates/template.ts'

/** A mail that waits to be sent. */
interface WaitingMail {
  id: string
  user_id: string
  recipient: string
  letter: TemplateName
  data: Record<string, string>
  locale: string
  timezone: string
  created_at: Date
}

/**
 * Reads the template data when a mail is sent, the current address as `to` if it may have changed, and the
 * URL that ends such mails with one click; undefined if the mail is no longer wanted.
 *
 * @param trx the transaction that locks the mail
 */
type ReadTemplateData<K extends TemplateName> = (
  trx: Database,
  mail: WaitingMail,
) => Promise<(TemplateData[K] & { to?: string; one_click_url?: string }) | undefined>

export type TemplateDataReaders = { readonly [K in TemplateName]: ReadTemplateData<K> }

interface Dependencies {
  db: Database
  mailer: Mailer
  readers: TemplateDataReaders
  log: Log
  now: () => Date
}

/**
 * Sends one mail, once. The row is locked while it is sent, and marked in the same transaction, so only
 * one of several workers sends it. Only a crash between the SMTP server's response and the commit sends
 * it again, with the same Message-ID.
 *
 * @throws a temporary failure: the job is retried
 */
export function mailDelivery({ db, mailer, readers, log, now }: Dependencies) {
  return async ({ id, user }: { id: string; user?: string }): Promise<void> => {
    await db.transaction(async (trx) => {
      const user_id = user ?? (await userOf(trx, id))
      const mail = await trx('mails')
        .where({ user_id, id, outcome: null })
        .forUpdate()
        .first<WaitingMail | undefined>()
      if (!mail) return
      const outcome = await send(trx, mail)
      await trx('mails').where({ user_id, id }).update({ outcome, settled_at: now() })
    })
  }

  /** Jobs that the release before has queued do not name the user. */
  async function userOf(trx: Database, id: string): Promise<string | null> {
    const found = await trx('mails').where({ id }).first<{ user_id: string } | undefined>('user_id')
    return found?.user_id ?? null
  }

  async function send(trx: Database, mail: WaitingMail): Promise<'sent' | 'unwanted' | 'refused'> {
    const { id, recipient, letter } = mail
    const data = await readers[letter](trx, mail)
    if (!data) return 'unwanted'
    const content = fillIn(letter, data as never, mail)
    try {
      const to = data.to ?? recipient
      const { one_click_url } = data
      await mailer.send({ id, to, language: content.language, one_click_url, ...render(content) })
      return 'sent'
    } catch (error) {
      if (!(error instanceof MailRefused)) throw error
      log.warn({ mail: id, letter, error: error.cause }, 'a mail was permanently rejected')
      return 'refused'
    }
  }
}

const KEPT_DAYS = 30

/** Mails created before this are deleted, with their causes. */
export const keptSince = (now: Date) => new Date(now.getTime() - KEPT_DAYS * 24 * 60 * 60 * 1000)
