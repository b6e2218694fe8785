import { type ChildProcess, spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'

/** Plain JavaScript, so that Node runs it as it is, from the sources and where they are built. */
const CHILD = fileURLToPath(new URL('./bcrypt-child.mjs', import.meta.url))

/** What hashes passwords: bcrypt itself, or something that has it done elsewhere. */
export interface PasswordEngine {
  hash(password: string, cost: number): Promise<string>
  compare(password: string, hash: string): Promise<boolean>
}

/**
 * bcrypt in a process of its own, at the lowest priority. On a thread of the server it has the same
 * right to a core as whoever answers requests, and a quarter of a second at a time: on two cores that
 * trebles the slowest hundredth of reads. Here it takes what they leave.
 *
 * The process starts with the first password and ends with the server, however that ends.
 */
export function backgroundBcrypt(): PasswordEngine & { readonly pid: number | undefined } {
  const waiting = new Map<number, (answer: Answer) => void>()
  let child: ChildProcess | undefined
  let last = 0

  return {
    hash: (password, cost) => ask<string>('hash', password, cost),
    compare: (password, hash) => ask<boolean>('compare', password, hash),
    get pid() {
      return child?.pid
    },
  }

  function ask<T>(work: 'hash' | 'compare', ...values: unknown[]): Promise<T> {
    const id = ++last
    child ??= start()
    const asked = child
    asked.channel?.ref() // while an answer is awaited, and no longer
    return new Promise<T>((resolve, reject) => {
      waiting.set(id, ({ error, value }) => {
        if (error === undefined) resolve(value as T)
        else reject(new Error(error))
      })
      asked.send({ id, work, values }, (error) => {
        if (error) answer({ id, error: error.message })
      })
    })
  }

  function answer({ id, ...rest }: Answer & { id: number }) {
    waiting.get(id)?.(rest)
    waiting.delete(id)
    if (waiting.size === 0) child?.channel?.unref()
  }

  function start(): ChildProcess {
    const started = spawn(process.execPath, [CHILD], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: {},
    })
    started.unref() // it keeps nobody alive who has nothing to hash
    started.on('message', (message) => answer(message as Answer & { id: number }))
    const end = () => {
      if (child === started) child = undefined
      for (const id of waiting.keys()) answer({ id, error: 'the process that hashes has ended' })
    }
    started.once('exit', end).once('error', end)
    try {
      if (started.pid) setPriority(started.pid, constants.priority.PRIORITY_LOW)
    } catch {
      // Not every system lets us; then it hashes at the usual priority.
    }
    return started
  }
}

interface Answer {
  error?: string
  value?: unknown
}
