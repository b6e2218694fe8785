import { once } from 'node:events'
import net from 'node:net'
import pg from 'pg'
import { expect, test } from 'vitest'
import { postgresBus } from '../../../server/realtime/postgres-bus.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { busContract } from '../../support/bus-contract.ts'
import { createDatabase } from '../../support/database.ts'
import { openTransactionPooler } from '../../support/transaction-pooler.ts'

busContract('Postgres', async () => {
  const database = await createDatabase()
  const way = await wayTo(database.url)
  const log = createLog('silent', { readable: false, to: { write() {} } })
  return {
    open: postgresBus({ url: database.url, tls: 'off' }, log),
    openBarred: postgresBus({ url: way.url, tls: 'off' }, log),
    ...way,
    count: () => way.connections.size,
    async close() {
      way.close()
      await database.drop()
    },
  }
})

test('a connection that answers, and to which no notification comes, is replaced', async () => {
  const database = await createDatabase()
  const pooler = await openTransactionPooler(database.url, { processes: 1 })
  const lines: string[] = []
  const log = createLog('warn', { readable: false, to: { write: (line) => void lines.push(line) } })
  let replaced = () => {}
  const gap = new Promise<void>((resolve) => {
    replaced = resolve
  })
  const open = postgresBus({ url: pooler.url, tls: 'off' }, log)
  const bus = await open({ message() {}, gap: () => replaced() })
  try {
    pooler.mute()
    await gap
    expect(lines.join('')).toContain('notifications do not arrive')
  } finally {
    await bus.close()
    await pooler.close()
    await database.drop()
  }
})

/** A way to the database that can be barred: who comes then is refused. */
async function wayTo(url: string) {
  const { host, port } = new pg.Client(url)
  const to = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port }
  const connections = new Set<net.Socket>()
  let isBarred = false
  let refusedCount = 0
  let wake = () => {}
  const gate = net.createServer((socket) => {
    socket.on('error', () => {})
    if (isBarred) {
      refusedCount++
      socket.destroy()
      wake()
      return
    }
    connections.add(socket)
    const database = net.connect(to as net.NetConnectOpts)
    socket.pipe(database).pipe(socket)
    database.on('error', () => {}).on('close', () => socket.destroy())
    socket.on('close', () => {
      connections.delete(socket)
      database.destroy()
      wake()
    })
  })
  gate.listen(0, '127.0.0.1')
  await once(gate, 'listening')
  const through = new URL(url)
  through.hostname = '127.0.0.1'
  through.port = String((gate.address() as net.AddressInfo).port)
  through.searchParams.delete('host')
  return {
    url: through.toString(),
    connections,
    bar() {
      isBarred = true
      for (const socket of connections) socket.destroy()
    },
    unbar() {
      isBarred = false
    },
    refused: (count: number) => until(() => refusedCount >= count),
    close() {
      for (const socket of connections) socket.destroy()
      gate.close()
    },
  }

  async function until(satisfied: () => boolean) {
    while (!satisfied())
      await new Promise<void>((resolve) => {
        wake = resolve
      })
  }
}
