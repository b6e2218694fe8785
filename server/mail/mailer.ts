import { createTransport } from 'nodemailer'
import type { Config } from '../runtime/config.ts'

export interface Message {
  /** Names it for good: a second copy has the same, so that a mailbox may drop it. */
  id: string
  to: string
  subject: string
  text: string
  html: string
  language: string
}

export interface Mailer {
  /** Resolves once the next server has taken it. @throws MailRefused, or what went wrong for now */
  send(message: Message): Promise<void>
  close(): void
}

/** The message will never be taken: there is no such mailbox, for example. */
export class MailRefused extends Error {
  override name = 'MailRefused'
}

/** Over SMTP where the configuration names a server; printed in development; waiting in production. */
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

type SmtpSettings = 'SMTP_URL' | 'MAIL_FROM' | 'SMTP_CONNECTIONS' | 'PUBLIC_URL'

const TIMEOUT_MS = 30_000

function smtpMailer({
  SMTP_URL,
  MAIL_FROM,
  SMTP_CONNECTIONS,
  PUBLIC_URL,
}: Pick<Config, SmtpSettings>): Mailer {
  const from = MAIL_FROM!
  const domain = from.split('@')[1]!
  const transport = createTransport({
    url: SMTP_URL!,
    name: greetingName(PUBLIC_URL, domain),
    pool: true,
    maxConnections: SMTP_CONNECTIONS,
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    // Nothing is ever read from a file or an address that a text names.
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return {
    async send({ id, to, subject, text, html, language }) {
      try {
        await transport.sendMail({
          messageId: `<${id}@${domain}>`,
          from: { name: 'Tasktide', address: from },
          // An object, so that no comma or bracket makes several addresses of it.
          to: { name: '', address: to },
          subject,
          text,
          html,
          headers: { 'Auto-Submitted': 'auto-generated', 'Content-Language': language },
        })
      } catch (error) {
        throw isRefusal(error) ? new MailRefused((error as Error).message, { cause: error }) : error
      }
    },
    close: () => transport.close(),
  }
}

/**
 * The name for EHLO, which has to be one of DNS (RFC 5321, 4.1.1.1): that of a container is none, and some
 * servers refuse mail for it.
 */
function greetingName(publicUrl: string | undefined, mailDomain: string): string {
  const host = publicUrl ? new URL(publicUrl).hostname : ''
  return /\.[a-z][a-z0-9-]*$/i.test(host) ? host : mailDomain
}

/** What is wrong for good: the mailbox (5.1), its state (5.2), or the form of the message (5.6). */
const FOR_GOOD = /^5\d\d[ -]5\.[126]\.\d+/
const WITHOUT_ENHANCED_CODE = [550, 551, 553]

/**
 * Whether trying again is in vain. By the enhanced code (RFC 3463) where there is one: what is about
 * us, such as a quota that is full (5.4, 5.7), or the sender, may pass or be mended, so it is waited
 * for.
 */
function isRefusal(error: unknown): boolean {
  const { command, response = '', responseCode = 0 } = error as SmtpError
  if (command !== 'RCPT TO' && command !== 'DATA') return false
  if (/^5\d\d[ -]5\.\d+\.\d+/.test(response)) return FOR_GOOD.test(response)
  return command === 'RCPT TO' && WITHOUT_ENHANCED_CODE.includes(responseCode)
}

interface SmtpError {
  command?: string
  response?: string
  responseCode?: number
}
