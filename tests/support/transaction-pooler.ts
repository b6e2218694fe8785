import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import pg from 'pg'
import { urlThrough } from './cluster.ts'

interface Process {
  stream: Socket
  /** Names of the statements that it knows. */
  known: Set<string>
  /** Types of answers that no client has asked for. */
  unasked: string[]
  client: Client | undefined
}

interface Client {
  socket: Socket
  statements: Map<string, Buffer>
  waiting: Buffer[]
  process: Process | undefined
}

/**
 * A pooler in transaction mode, as PgBouncer: a client has a process of Postgres from its first message
 * to the end of the transaction. What Postgres says in between goes to nobody.
 *
 * @param keepsStatements as PgBouncer since 1.21: statements that are prepared by name follow the client
 */
export async function openTransactionPooler(
  databaseUrl: string,
  { processes = 3, keepsStatements = true } = {},
) {
  const all = await Promise.all(Array.from({ length: processes }, () => openProcess(databaseUrl)))
  const free = all.map(({ process }) => process)
  const clients = new Set<Client>()
  let isMute = false
  for (const process of free) process.stream.on('data', messages(fromServer(process)))

  const server = createServer({ noDelay: true }, (socket) => {
    const client: Client = { socket, statements: new Map(), waiting: [], process: undefined }
    clients.add(client)
    socket.on('error', () => {})
    socket.on('close', () => clients.delete(client))
    socket.once('data', () => {
      socket.write(WELCOME)
      socket.on(
        'data',
        messages((type, message) => fromClient(client, type, message)),
      )
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: urlThrough(server, databaseUrl),
    /** Drops notifications, even to a client that waits for an answer. */
    mute() {
      isMute = true
    },
    async close() {
      for (const { socket } of clients) socket.destroy()
      server.close()
      for (const { process } of all) process.stream.destroy()
      await once(server, 'close')
    },
  }

  function fromClient(client: Client, type: string, message: Buffer) {
    if (type === 'X') return void client.socket.end()
    // The one that was used last, as PgBouncer does.
    if (!client.process) {
      client.process = free.pop()
      if (!client.process) return void client.waiting.push(message)
      client.process.client = client
    }
    forward(client, client.process, type, message)
  }

  function forward(client: Client, process: Process, type: string, message: Buffer) {
    const { stream, known, unasked } = process
    if (keepsStatements && type === 'P') {
      const name = textAt(message, 5)
      client.statements.set(name, message)
      if (name && known.has(name)) {
        stream.write(closeStatement(name))
        unasked.push('3')
      }
      known.add(name)
    }
    if (keepsStatements && type === 'B') {
      const name = textAt(message, 5 + textAt(message, 5).length + 1)
      if (name && !known.has(name)) {
        stream.write(client.statements.get(name)!)
        unasked.push('1')
        known.add(name)
      }
    }
    stream.write(message)
  }

  function fromServer(process: Process) {
    return (type: string, message: Buffer) => {
      if (type === process.unasked[0]) return void process.unasked.shift()
      const { client } = process
      if (isMute && type === 'A') return
      client?.socket.write(message)
      if (type !== 'Z' || message.at(-1) !== 'I'.charCodeAt(0)) return
      if (client) client.process = undefined
      process.client = undefined
      free.push(process)
      const next = [...clients].find(({ waiting }) => waiting.length > 0)
      for (const waited of next?.waiting.splice(0) ?? [])
        fromClient(next!, String.fromCharCode(waited[0]!), waited)
    }
  }
}

async function openProcess(url: string) {
  const client = new pg.Client(url)
  client.on('error', () => {})
  await client.connect()
  const stream = (client as unknown as { connection: { stream: Socket } }).connection.stream
  stream.removeAllListeners('data')
  const process: Process = { stream, known: new Set(), unasked: [], client: undefined }
  return { process }
}

/** Authentication, the key for cancelling, ready. */
const WELCOME = Buffer.from([
  ...[0x52, 0, 0, 0, 8, 0, 0, 0, 0],
  ...[0x4b, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1],
  ...[0x5a, 0, 0, 0, 5, 0x49],
])

/** Cuts a stream into messages of the protocol. */
function messages(each: (type: string, message: Buffer) => void) {
  let rest = Buffer.alloc(0)
  return (data: Buffer) => {
    rest = Buffer.concat([rest, data])
    while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
      const end = rest.readInt32BE(1) + 1
      const message = rest.subarray(0, end)
      rest = rest.subarray(end)
      each(String.fromCharCode(message[0]!), message)
    }
  }
}

const textAt = (message: Buffer, start: number) =>
  message.subarray(start, message.indexOf(0, start)).toString()

function closeStatement(name: string): Buffer {
  const body = Buffer.from(`S${name}\0`)
  const head = Buffer.alloc(5)
  head.write('C')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
