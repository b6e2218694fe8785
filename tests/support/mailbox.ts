import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type ParsedMail, simpleParser } from 'mailparser'
import { SMTPServer } from 'smtp-server'

export interface Delivered {
  /** What the SMTP client named, whatever the headers say. */
  recipients: string[]
  mail: ParsedMail
  raw: string
}

export interface Mailbox {
  /** What to give as SMTP_URL. */
  url: string
  /** Everything that came, in order. */
  delivered: Delivered[]
  /** The next mail to this address that nobody has taken yet. */
  next(address: string): Promise<Delivered>
  /** What the clients called themselves, in order. */
  greetings: string[]
  /** Called before a message is taken; what it throws (`responseCode`) is the answer. */
  refuse: ((recipient: string) => Error | undefined) | undefined
  /** The same, asked when the sender is named. */
  refuseSender: (() => Error | undefined) | undefined
  /**
   * Waited for on the way of a message: before its recipient is answered, before the message is
   * kept, and before that is answered.
   */
  hold: ((at: 'recipient' | 'message' | 'answer', recipient: string) => unknown) | undefined
  close(): Promise<void>
}

/** A real SMTP server that keeps what it is given. */
export async function openMailbox(): Promise<Mailbox> {
  const waiting: Delivered[] = []
  const readers = new Set<() => void>()
  const mailbox: Mailbox = {
    url: '',
    delivered: [],
    greetings: [],
    refuse: undefined,
    refuseSender: undefined,
    hold: undefined,
    async next(address) {
      for (;;) {
        const index = waiting.findIndex(({ recipients }) => recipients.includes(address))
        if (index >= 0) return waiting.splice(index, 1)[0]!
        await new Promise<void>((came) => readers.add(came))
      }
    },
    close: () => new Promise((closed) => server.close(() => closed())),
  }
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onMailFrom(_address, { hostNameAppearsAs }, done) {
      mailbox.greetings.push(hostNameAppearsAs)
      done(mailbox.refuseSender?.())
    },
    async onRcptTo({ address }, _session, done) {
      await mailbox.hold?.('recipient', address)
      done(mailbox.refuse?.(address))
    },
    onData(stream, { envelope }, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', async () => {
        const raw = Buffer.concat(chunks)
        const recipient = envelope.rcptTo[0]!.address
        await mailbox.hold?.('message', recipient)
        const delivered = {
          recipients: envelope.rcptTo.map(({ address }) => address),
          mail: await simpleParser(raw),
          raw: raw.toString(),
        }
        mailbox.delivered.push(delivered)
        waiting.push(delivered)
        await mailbox.hold?.('answer', recipient)
        done()
        for (const came of readers) came()
        readers.clear()
      })
    },
  })
  server.on('error', () => {}) // a client that was killed
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  const { port } = server.server.address() as AddressInfo
  mailbox.url = `smtp://127.0.0.1:${port}`
  return mailbox
}

/** What turns a test server into one with a worker whose mail comes here. */
export const mailingTo = ({ url }: Mailbox) => ({
  RUN_WORKER: 'true',
  SMTP_URL: url,
  MAIL_FROM: 'tasks@tasktide.example',
  PUBLIC_URL: 'http://tasktide.example',
})
