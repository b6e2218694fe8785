import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type ParsedMail, simpleParser } from 'mailparser'
import { SMTPServer } from 'smtp-server'

export interface Delivered {
  /** The recipients of the SMTP envelope, which may differ from the headers. */
  recipients: string[]
  mail: ParsedMail
  raw: string
}

export interface Mailbox {
  /** The value for SMTP_URL. */
  url: string
  /** All received mail, in order. */
  delivered: Delivered[]
  /** The next mail to this address that no earlier call returned. */
  next(address: string): Promise<Delivered>
  /** The host names of the clients' greetings, in order. */
  greetings: string[]
  /** Called before a message is accepted; an error with `responseCode` rejects it. */
  refuse: ((recipient: string) => Error | undefined) | undefined
  /** The same for the sender. */
  refuseSender: (() => Error | undefined) | undefined
  /** Awaited before the reply to the recipient, before the message is stored, and before the reply to it. */
  hold: ((at: 'recipient' | 'message' | 'answer', recipient: string) => unknown) | undefined
  close(): Promise<void>
}

/** A real SMTP server that stores the mail it receives. */
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

/** Settings of a test server with a worker that sends its mail here. */
export const mailingTo = ({ url }: Mailbox) => ({
  RUN_WORKER: 'true',
  SMTP_URL: url,
  MAIL_FROM: 'tasks@tasktide.example',
  PUBLIC_URL: 'http://tasktide.example',
})
