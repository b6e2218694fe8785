import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, getPriority } from 'node:os'
import bcrypt from 'bcrypt'
import { expect, test } from 'vitest'
import { backgroundBcrypt } from '../../../server/accounts/background-bcrypt.ts'

test('hashes and compares as bcrypt does', async () => {
  const engine = backgroundBcrypt()
  const hash = await engine.hash('a ferry to Lisbon', 4)
  expect(await bcrypt.compare('a ferry to Lisbon', hash)).toBe(true)
  expect(await engine.compare('a ferry to Lisbon', hash)).toBe(true)
  expect(await engine.compare('a ferry to Porto', hash)).toBe(false)
  await expect(engine.compare('a ferry', 7 as never)).rejects.toThrow(/string/)
})

test('runs at the lowest priority', async () => {
  const engine = backgroundBcrypt()
  await engine.hash('a ferry to Lisbon', 4)
  expect(getPriority(engine.pid)).toBe(constants.priority.PRIORITY_LOW)
})

test('rejects when its process ends, and starts another', async () => {
  const engine = backgroundBcrypt()
  const hash = await engine.hash('a ferry to Lisbon', 4)
  const long = engine.hash('a ferry to Lisbon', 15)
  process.kill(engine.pid!, 'SIGKILL')
  await expect(long).rejects.toThrow('has exited')
  expect(await engine.compare('a ferry to Lisbon', hash)).toBe(true)
})

test('ends with the process that uses it, even when that is killed', async () => {
  const code = `
    import { backgroundBcrypt } from './server/accounts/background-bcrypt.ts'
    const engine = backgroundBcrypt()
    await engine.hash('a ferry to Lisbon', 4)
    console.log(engine.pid)
    setInterval(() => {}, 1000)
  `
  const user = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code])
  const [pid] = await once(user.stdout, 'data')
  user.kill('SIGKILL')
  await expect.poll(() => isRunning(Number(pid)), { timeout: 10_000 }).toBe(false)
})

function isRunning(pid: number): boolean {
  try {
    getPriority(pid)
    return true
  } catch {
    return false
  }
}
