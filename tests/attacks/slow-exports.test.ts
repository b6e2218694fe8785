import { connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { type Attacker, openArena } from './arena.ts'

const READERS = 20
const BYTES_A_SECOND = 4 * 1024

test('twenty people who read their exports at 4 KB a second keep nobody from exporting', async () => {
  const arena = await openArena()
  const attackers: Attacker[] = []
  while (attackers.length < READERS) attackers.push(...(await arena.attackers(4)))
  const [person] = await arena.attackers(1)
  for (const { id } of attackers)
    await arena.database.db.raw(
      `insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at)
       select ?, gen_random_uuid(), 'Task', repeat('A long description. ', 500), 'low', false, 'a0', now(), now()
       from generate_series(1, 1000)`,
      [id],
    )
  await arena.whileOthersWork(async () => {
    for (const attacker of attackers) readSlowly(arena.url, attacker)
    let answer = await person!.call('GET', '/api/account/export/tasks.csv')
    for (let tries = 0; answer.status === 429 && tries < 3; tries++)
      answer = await person!.call('GET', '/api/account/export/tasks.csv')
    expect(answer.status).toBe(200)
  })
})

function readSlowly(url: string, { access }: Attacker): Socket {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port) })
  socket.on('error', () => {})
  socket.write(
    `GET /api/account/export/ HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${access}\r\n\r\n`,
  )
  socket.pause()
  const timer = setInterval(() => socket.read(BYTES_A_SECOND), 1_000)
  onTestFinished(() => {
    clearInterval(timer)
    socket.destroy()
  })
  return socket
}
