import type { Server as HttpServer } from 'node:http'
import { handshakeRules } from '../http/handshakes.ts'
import type { Hints } from '../realtime/hints.ts'
import { createSockets, watchSockets } from '../realtime/sockets.ts'
import type { Config } from '../runtime/config.ts'
import type { Log } from '../runtime/log.ts'
import { createPlaces } from '../runtime/places.ts'
import type { App } from './app.ts'

/** If a hint is lost: how long a session that ended on another node can continue here. */
const SESSIONS_MS = 1_000
/** If a hint is lost: the maximum delay of a change. */
const HEADS_MS = 3_000

interface Dependencies {
  config: Config
  app: Pick<
    App,
    | 'sessions'
    | 'followers'
    | 'answers'
    | 'streams'
    | 'changes'
    | 'couchFeeds'
    | 'metrics'
    | 'positions'
    | 'bytes'
  >
  hints: Hints
  log: Log
  now: () => Date
}

/** Connects sockets, streams and hints. Call it after the app is attached to the HTTP server. */
export function startRealtime(http: HttpServer, { config, app, hints, log, now }: Dependencies) {
  const { sessions, followers, answers, streams, changes, couchFeeds, metrics, positions, bytes } =
    app
  const sockets = createSockets(http, {
    sessions,
    followers,
    bytes,
    handshakes: handshakeRules({
      publicUrl: config.PUBLIC_URL,
      origins: config.CORS_ORIGINS,
      needsHttps: config.needsHttps,
    }),
    places: createPlaces(config.MAX_SOCKETS_PER_USER),
    log,
    metrics,
    positions,
    now,
  })
  watchSockets(metrics, sockets)
  const sweeps = [
    setInterval(endDeadSessions, SESSIONS_MS).unref(),
    setInterval(followers.sweep, HEADS_MS).unref(),
  ]
  hints.listen({ changed: followers.changed, ended: end, gap: () => void followers.gap() })

  return {
    async close() {
      for (const sweep of sweeps) clearInterval(sweep)
      streams.end()
      changes.end()
      for (const feeds of couchFeeds) feeds.end()
      await sockets.close()
    },
  }

  function end(session: string) {
    sockets.ended(session)
    answers.cut(session)
  }

  async function endDeadSessions() {
    const open = new Map([...sockets.sessions(), ...answers.sessions()])
    if (open.size === 0) return
    try {
      const live = await sessions.stillLive(open)
      for (const session of open.keys()) if (!live.has(session)) end(session)
    } catch (error) {
      log.warn({ error }, 'sessions could not be checked')
    }
  }
}
