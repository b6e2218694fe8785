import { type ChildProcess, spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'

/** Plain JavaScript, so Node runs it both from the sources and from the build. */
const CHILD = fileURLToPath(new URL('./bcrypt-child.mjs', import.meta.url))

/** Hashes passwords: bcrypt itself, or a process that runs it. */
export interface PasswordEngine {
  hash(password: string, cost: number): Promise<string>
  compare(password: string, hash: string): Promise<boolean>
}

/**
 * bcrypt in a separate process, at the lowest priority. On a thread of the server it competes with
 * requests for a core, a quarter of a second at a time: on two cores that triples the 99th percentile
 * of reads. Here it uses only idle time.
 *
 * The process starts with the first password and ends with the server, even if that is killed.
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
    asked.channel?.ref() // only while a result is pending
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
    started.unref() // does not keep the server alive
    started.on('message', (message) => answer(message as Answer & { id: number }))
    const end = () => {
      if (child === started) child = undefined
      for (const id of waiting.keys()) answer({ id, error: 'the hashing process has exited' })
    }
    started.once('exit', end).once('error', end)
    try {
      if (started.pid) setPriority(started.pid, constants.priority.PRIORITY_LOW)
    } catch {
      // Not allowed on every system; it then runs at normal priority.
    }
    return started
  }
}

interface Answer {
  error?: string
  value?: unknown
}
