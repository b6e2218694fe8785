/** A mail server that takes everything, keeps nothing, and counts. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'

export type SinkJob = { kind: 'listen' } | { kind: 'count'; from: number; messages: number }

export interface Counted {
  /** How many have come since the sink listens. */
  total: number
  /** When the last of them came, in milliseconds since 1970. */
  at: number
}

let total = 0
let at = 0
let came = () => {}
const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS'],
  onData(stream, _session, done) {
    stream.resume()
    stream.on('end', () => {
      total++
      at = Date.now()
      done()
      came()
    })
  },
})

process.on('message', async (job: SinkJob) => {
  process.send!({ value: job.kind === 'listen' ? await listen() : await count(job) })
})
process.on('disconnect', () => process.exit())

async function listen(): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  return (server.server.address() as AddressInfo).port
}

/** Answers once so many messages have come after the first `from`. */
async function count({ from, messages }: { from: number; messages: number }): Promise<Counted> {
  while (total < from + messages)
    await new Promise<void>((next) => {
      came = next
    })
  return { total, at }
}
