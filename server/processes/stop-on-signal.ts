import type { Log } from '../runtime/log.ts'

/** Platforms kill a process after 30 seconds. */
const LAST_EXIT_MS = 20_000

/**
 * Exits after `stop` has finished running work; a second signal is ignored. If `stop` does not end,
 * because the database is silent, for example, the process exits all the same.
 *
 * @param drainSeconds how long `stop` serves on at first
 */
export function stopOnSignal(log: Log, stop: () => Promise<void>, drainSeconds = 0): void {
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (stopping) return
      stopping = true
      log.info({ signal }, 'stopping')
      setTimeout(
        () => {
          // `fatal` is written before the exit.
          log.fatal('did not stop in time: what still ran was cut off')
          process.exit(1)
        },
        drainSeconds * 1000 + LAST_EXIT_MS,
      )
      stop().then(
        () => process.exit(0),
        (error) => {
          log.fatal({ error }, 'did not stop well')
          process.exit(1)
        },
      )
    })
}
