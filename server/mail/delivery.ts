import type { Database } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { write } from './letters/index.ts'
import type { LetterContents, LetterName } from './letters/letter.ts'
import { type Mailer, MailRefused } from './mailer.ts'
import { render } from './render.ts'

/** A mail that waits to be sent. */
export interface WaitingMail {
  id: string
  user_id: string
  recipient: string
  letter: LetterName
  data: Record<string, string>
  locale: string
  timezone: string
  created_at: Date
}

/**
 * What a letter says as things are when it is sent, and `to` what address where that may have changed;
 * undefined when it is not wanted any more.
 *
 * @param trx the transaction in which the mail is held
 */
export type Reading<K extends LetterName> = (
  trx: Database,
  mail: WaitingMail,
) => Promise<(LetterContents[K] & { to?: string }) | undefined>

export type Readings = { readonly [K in LetterName]: Reading<K> }

interface Dependencies {
  db: Database
  mailer: Mailer
  readings: Readings
  log: Log
  now: () => Date
}

/**
 * Sends one mail, once. Its row is locked while it is sent, and marked in the same transaction, so
 * however many workers have its job, one sends it. Only when this process dies between the SMTP
 * server's answer and the commit does it go out again, under the same Message-ID.
 *
 * @throws what kept it from being sent for now: its job is tried again
 */
export function mailDelivery({ db, mailer, readings, log, now }: Dependencies) {
  return async ({ id }: { id: string }): Promise<void> => {
    await db.transaction(async (trx) => {
      const mail = await trx('mails')
        .where({ id, outcome: null })
        .forUpdate()
        .first<WaitingMail | undefined>()
      if (!mail) return
      const outcome = await send(trx, mail)
      await trx('mails').where({ id }).update({ outcome, settled_at: now() })
    })
  }

  async function send(trx: Database, mail: WaitingMail): Promise<'sent' | 'unwanted' | 'refused'> {
    const { id, recipient, letter } = mail
    const contents = await readings[letter](trx, mail)
    if (!contents) return 'unwanted'
    const written = write(letter, contents as never, mail)
    try {
      const to = contents.to ?? recipient
      await mailer.send({ id, to, language: written.language, ...render(written) })
      return 'sent'
    } catch (error) {
      if (!(error instanceof MailRefused)) throw error
      log.warn({ mail: id, letter, error: error.cause }, 'a mail was refused for good')
      return 'refused'
    }
  }
}

const KEPT_DAYS = 30

/** Mail that was written before this is forgotten, and its cause with it. */
export const keptSince = (now: Date) => new Date(now.getTime() - KEPT_DAYS * 24 * 60 * 60 * 1000)
