/** What sending mail costs at the least: nodemailer in a loop, over as many connections. */
import { createTransport } from 'nodemailer'

export interface BareJob {
  port: number
  connections: number
  /** How many are under way at once. */
  atOnce: number
  messages: number
  subject: string
  text: string
  html: string
}

process.on('message', async (job: BareJob) => {
  process.send!({ value: await send(job) })
})
process.on('disconnect', () => process.exit())

/** @returns when the first was begun, in milliseconds since 1970 */
async function send(job: BareJob): Promise<number> {
  const { port, connections, atOnce, messages, subject, text, html } = job
  const transport = createTransport({
    url: `smtp://127.0.0.1:${port}`,
    pool: true,
    maxConnections: connections,
  })
  const began = Date.now()
  let next = 0
  const lane = async () => {
    while (next < messages)
      await transport.sendMail({
        messageId: `<${next}@tasktide.example>`,
        from: { name: 'Tasktide', address: 'tasks@tasktide.example' },
        to: { name: '', address: `person${next++}@example.com` },
        subject,
        text,
        html,
      })
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  transport.close()
  return began
}
