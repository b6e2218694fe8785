import { createTransport } from 'nodemailer'
import type { Config } from '../runtime/config.ts'
import { mayBePlain } from '../runtime/encryption.ts'

export interface Message {
  /** For the Message-ID. A second copy has the same, so a mailbox may drop it. */
  id: string
  to: string
  subject: string
  text: string
  html: string
  language: string
  /** Ends mails of this kind by a POST (RFC 8058). */
  one_click_url?: string | undefined
}

export interface Mailer {
  /** Resolves when the SMTP server has accepted it. @throws MailRefused, or a temporary failure */
  send(message: Message): Promise<void>
  close(): void
}

/** A permanent rejection: there is no such mailbox, for example. */
export class MailRefused extends Error {
  override name = 'MailRefused'
}

/** Sends by SMTP if configured. Otherwise development prints mail, and production keeps it queued. */
export function createMailer(
  config: Pick<Config, SmtpSettings | 'isProduction'>,
  print: (text: string) => void = (text) => void process.stdout.write(text),
): Mailer {
  if (config.SMTP_URL) return smtpMailer(config)
  return {
    async send({ to, subject, text }) {
      if (config.isProduction) throw new Error('SMTP_URL is not set')
      print(`\n--- mail to ${to}: ${subject}\n${text}---\n\n`)
    },
    close() {},
  }
}

type SmtpSettings = 'SMTP_URL' | 'SMTP_TLS' | 'MAIL_FROM' | 'SMTP_CONNECTIONS' | 'PUBLIC_URL'

const TIMEOUT_MS = 30_000

function smtpMailer({
  SMTP_URL,
  SMTP_TLS = mayBePlain(SMTP_URL!) ? 'insecure' : 'verify',
  MAIL_FROM,
  SMTP_CONNECTIONS,
  PUBLIC_URL,
}: Pick<Config, SmtpSettings>): Mailer {
  const from = MAIL_FROM!
  const domain = from.split('@')[1]!
  const transport = createTransport({
    url: SMTP_URL!,
    // Without it, whoever is on the line removes STARTTLS from the greeting and reads all.
    requireTLS: SMTP_TLS !== 'insecure',
    tls: { rejectUnauthorized: SMTP_TLS === 'verify' },
    name: greetingName(PUBLIC_URL, domain),
    pool: true,
    maxConnections: SMTP_CONNECTIONS,
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    // Text in a message never names a file or a URL to read.
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return {
    async send({ id, to, subject, text, html, language, one_click_url }) {
      try {
        await transport.sendMail({
          messageId: `<${id}@${domain}>`,
          from: { name: 'Tasktide', address: from },
          // An object, so that a comma or bracket cannot add addresses.
          to: { name: '', address: to },
          subject,
          text,
          html,
          headers: {
            'Auto-Submitted': 'auto-generated',
            'Content-Language': language,
            ...(one_click_url && unsubscribeHeaders(one_click_url)),
          },
        })
      } catch (error) {
        if (isRefusal(error)) throw new MailRefused((error as Error).message, { cause: error })
        throw (error as SmtpError).code === 'ETLS' ? withoutTls(error) : error
      }
    },
    close: () => transport.close(),
  }
}

/** Mail programs show a button for them: the alternative is that people report the mail as spam. */
const unsubscribeHeaders = (url: string) => ({
  'List-Unsubscribe': { prepared: true, value: `<${url}>` },
  'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
})

/**
 * The name for EHLO must be a DNS name (RFC 5321, 4.1.1.1). The host name of a container is none, and
 * some servers then reject mail.
 */
function greetingName(publicUrl: string | undefined, mailDomain: string): string {
  const host = publicUrl ? new URL(publicUrl).hostname : ''
  return /\.[a-z][a-z0-9-]*$/i.test(host) ? host : mailDomain
}

/** Permanent failures: the mailbox (5.1), its state (5.2), or the form of the message (5.6). */
const FOR_GOOD = /^5\d\d[ -]5\.[126]\.\d+/
const WITHOUT_ENHANCED_CODE = [550, 551, 553]

/**
 * Whether a retry is pointless, by the enhanced status code (RFC 3463) if there is one. Failures on our
 * side, such as a full quota (5.4, 5.7) or a rejected sender, can be fixed, so they are retried.
 */
function isRefusal(error: unknown): boolean {
  const { command, response = '', responseCode = 0 } = error as SmtpError
  if (command !== 'RCPT TO' && command !== 'DATA') return false
  if (/^5\d\d[ -]5\.\d+\.\d+/.test(response)) return FOR_GOOD.test(response)
  return command === 'RCPT TO' && WITHOUT_ENHANCED_CODE.includes(responseCode)
}

const withoutTls = (cause: unknown) =>
  new Error(
    'The server of SMTP_URL offers no encryption that can be checked: use smtps:// or turn on STARTTLS there. SMTP_TLS=require takes any certificate; SMTP_TLS=insecure sends mail for everybody on the line to read.',
    { cause },
  )

interface SmtpError {
  code?: string
  command?: string
  response?: string
  responseCode?: number
}
