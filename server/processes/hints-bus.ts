import type { OpenDatabase } from '../database/open.ts'
import type { OpenBus } from '../realtime/bus.ts'
import { postgresBus } from '../realtime/postgres-bus.ts'
import { redisBus } from '../realtime/redis-bus.ts'
import type { Config } from '../runtime/config.ts'
import type { Log } from '../runtime/log.ts'

/** The bus that nodes send hints over: all processes have to use the same one. */
export function hintsBus(
  { REDIS_URL }: Pick<Config, 'REDIS_URL'>,
  { sessionTarget }: Pick<OpenDatabase, 'sessionTarget'>,
  log: Log,
): OpenBus {
  return REDIS_URL === undefined ? postgresBus(sessionTarget, log) : redisBus(REDIS_URL, log)
}
