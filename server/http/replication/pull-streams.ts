import type { ServerResponse } from 'node:http'
import type { Request } from 'express'
import type { Problem, Resource } from '../../../protocol/index.ts'
import type { Followers, Subscriber } from '../../realtime/followers.ts'
import type { BytesInFlight, Held } from '../../runtime/bytes-in-flight.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import { limitFor, type Places, tooManyConnections } from '../../runtime/places.ts'
import { followingFrames, type Positions } from '../../sync/positions.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'

const HEARTBEAT_MS = 20_000
/** Fits an event on a slow line, whatever the system has taken of it. */
const MAX_WAITING_BYTES = 256 * 1024 + 4_096

interface PullStreamDependencies {
  followers: Followers
  answers: OpenAnswers
  bytes: Pick<BytesInFlight, 'tryTake'>
  /** For the streams of each user. */
  places: Places
  metrics: Pick<Metrics, 'refusedStream'>
  positions: Pick<Positions, 'note'>
  now: () => Date
}

/**
 * Sends the changes of one resource as server-sent events, in feed order, each with the checkpoint after
 * it, which the client stores. If the order cannot be guaranteed, the stream ends instead: the client opens
 * another one and pulls.
 */
export function createPullStreams({
  followers,
  answers,
  bytes,
  places,
  metrics,
  positions,
  now,
}: PullStreamDependencies) {
  const open = new Set<() => void>()

  return {
    async serve(
      resource: Resource,
      { user, session, expires, isLimited, request }: Omit<Call, 'params' | 'query' | 'body'>,
    ): Promise<Answer> {
      if (request.method === 'HEAD') return { status: 200, headers: HEADERS }
      const limit = limitFor({ isLimited }, places.limit)
      const place = places.take(user, limit)
      if (!place) {
        metrics.refusedStream()
        return refuse(request, tooManyConnections(limit))
      }
      const vacate: () => void = place
      let write: Subscriber['frame'] = () => {}
      let isOver = false
      let end = () => {
        isOver = true
      }
      // Subscribes before the headers are sent: the client pulls when they arrive, and misses nothing.
      const { leave } = await followers
        .join(user, { frame: (...frame) => write(...frame), end: () => end() })
        .catch((error) => {
          vacate()
          throw error
        })
      return { status: 200, headers: HEADERS, stream }

      function stream(response: ServerResponse) {
        // Not sooner: what the client has not read yet is still in memory.
        response.once('close', vacate)
        if (response.destroyed) {
          vacate()
          return leave() // disconnected meanwhile
        }
        end = () => {
          stop()
          response.end()
        }
        if (isOver) return void response.end()
        const isExpired = () => now().getTime() >= expires * 1000
        const heartbeat = setInterval(() => {
          // Otherwise it would count as progress of a client that does not read.
          if (response.writableLength === 0) response.write(': still here\n\n')
        }, HEARTBEAT_MS)
        const settle = answers.add({ user, session, expires }, end)
        open.add(end)
        /** The events that the client has not taken. */
        const waiting = new Set<Held>()
        response.once('close', () => {
          stop()
          for (const held of waiting) held.release()
        })
        const sent = followingFrames((part) =>
          positions.note({ user, session }, 'streamed', resource.name, part),
        )
        write = (frame, encoded) => {
          // There are too many changes for one event.
          if (!encoded || isExpired()) return end()
          const event = encoded.event(resource.name)
          if (!event || handedOver(event)) return sent(frame)
          stop()
          response.destroy()
        }
        response.write(': open\n\n')

        /** @returns false if the client reads too slowly: disconnected at once, it holds no memory and pulls */
        function handedOver(event: Buffer): boolean {
          const held = bytes.tryTake(user, event.length)
          if (!held) return false
          waiting.add(held)
          response.write(event, () => {
            waiting.delete(held)
            held.release()
          })
          return response.writableLength <= MAX_WAITING_BYTES
        }

        /** Nothing may be written after the end, even if a slow client has not read it yet. */
        function stop() {
          open.delete(end)
          clearInterval(heartbeat)
          settle()
          leave()
        }
      }
    },

    /** Ends all streams; clients reconnect to another node. */
    end(): void {
      for (const end of open) end()
    },
  }
}

export type PullStreams = ReturnType<typeof createPullStreams>

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-store, no-transform',
  'X-Accel-Buffering': 'no',
}

/**
 * Clients for event streams do not connect again after an error, or at once. So they get a stream that ends,
 * and says when to connect again: until then they pull, because they do whenever a stream opens or ends.
 */
function refuse(request: Request, problem: Problem): Answer {
  if (!request.headers.accept?.includes('text/event-stream')) throw problem
  const event = `event: refused\ndata: ${JSON.stringify(problem.body())}\n\n`
  return { status: 200, headers: HEADERS, body: `retry: ${problem.retryAfter! * 1000}\n${event}` }
}
