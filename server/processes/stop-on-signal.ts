import type { Log } from '../runtime/log.ts'

/** Ends the process once `stop` is through with what runs; a second signal does not hurry it. */
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
