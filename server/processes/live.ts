import type { Server as HttpServer } from 'node:http'
import type { Hints } from '../realtime/hints.ts'
import { createSockets } from '../realtime/sockets.ts'
import type { Log } from '../runtime/log.ts'
import type { App } from './app.ts'

/** How long a session that ended on another node may go on here when its hint was lost. */
const SESSIONS_MS = 1_000
/** How late a change may be heard of when its hint was lost. */
const HEADS_MS = 3_000

interface Dependencies {
  app: Pick<App, 'sessions' | 'followers' | 'answers' | 'streams' | 'metrics'>
  hints: Hints
  log: Log
  now: () => Date
}

/** Puts sockets, streams and hints together. Call it once the app is on the HTTP server. */
export function startRealtime(http: HttpServer, { app, hints, log, now }: Dependencies) {
  const { sessions, followers, answers, streams, metrics } = app
  const sockets = createSockets(http, { sessions, followers, log, metrics, now })
  metrics.gauge('tasktide_sockets_open', 'Sockets that are open.', sockets.count)
  const sweeps = [
    setInterval(endDeadSessions, SESSIONS_MS).unref(),
    setInterval(followers.sweep, HEADS_MS).unref(),
  ]
  hints.listen({ changed: followers.changed, ended: end, gap: followers.gap })

  return {
    async close() {
      for (const sweep of sweeps) clearInterval(sweep)
      streams.end()
      await sockets.close()
    },
  }

  function end(session: string) {
    sockets.ended(session)
    answers.cut(session)
  }

  async function endDeadSessions() {
    const open = [...new Set([...sockets.sessions(), ...answers.sessions()])]
    if (open.length === 0) return
    try {
      const live = await sessions.stillLive(open)
      for (const session of open) if (!live.has(session)) end(session)
    } catch (error) {
      log.warn({ error }, 'sessions could not be looked up')
    }
  }
}
