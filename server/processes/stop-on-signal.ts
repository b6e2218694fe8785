import type { Log } from '../runtime/log.ts'

/** Exits after `stop` has finished running work; a second signal is ignored. */
export function stopOnSignal(log: Log, stop: () => Promise<void>): void {
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (stopping) return
      stopping = true
      log.info({ signal }, 'stopping')
      stop().then(
        () => process.exit(0),
        (error) => {
          log.error({ error }, 'did not stop well')
          process.exit(1)
        },
      )
    })
}
