import type { ServerResponse } from 'node:http'
import type { Frame, Resource, StreamEvent } from '../../../protocol/index.ts'
import type { Followers } from '../../realtime/followers.ts'
import { followingFrames, type Positions } from '../../sync/positions.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'

const HEARTBEAT_MS = 20_000

/**
 * Sends the changes of one resource as server-sent events, in feed order, each with the checkpoint after
 * it, which the client stores. If the order cannot be guaranteed, the stream ends instead: the client opens
 * another one and pulls.
 */
export function createPullStreams(
  followers: Followers,
  answers: OpenAnswers,
  positions: Pick<Positions, 'note'>,
  now: () => Date,
) {
  const open = new Set<() => void>()

  return {
    async serve(
      resource: Resource,
      { user, session, expires, request }: Omit<Call, 'params' | 'query' | 'body'>,
    ): Promise<Answer> {
      if (request.method === 'HEAD') return { status: 200, headers: HEADERS }
      let write = (_: Frame) => {}
      let isOver = false
      let end = () => {
        isOver = true
      }
      // Subscribes before the headers are sent: the client pulls when they arrive, and misses nothing.
      const { leave } = await followers.join(user, {
        frame: (frame) => write(frame),
        end: () => end(),
      })
      return { status: 200, headers: HEADERS, stream }

      function stream(response: ServerResponse) {
        if (response.destroyed) return leave() // disconnected meanwhile
        end = () => {
          stop()
          response.end()
        }
        if (isOver) return void response.end()
        const isExpired = () => now().getTime() >= expires * 1000
        const heartbeat = setInterval(() => response.write(': still here\n\n'), HEARTBEAT_MS)
        const settle = answers.add({ user, session, expires }, end)
        open.add(end)
        response.once('close', stop)
        const sent = followingFrames((part) =>
          positions.note({ user, session }, 'streamed', resource.name, part),
        )
        write = (frame) => {
          // A slow client is disconnected and will pull, so that nothing is buffered in memory.
          if (response.writableNeedDrain) response.destroy()
          else if (isExpired() || !writeEvent(response, resource, frame)) end()
          else sent(frame)
        }
        response.write(': open\n\n')

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
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
}

/** @returns false if there are too many changes for one event */
function writeEvent(
  response: ServerResponse,
  { name }: Resource,
  { checkpoint, documents: all }: Frame,
): boolean {
  if (!all) return false
  const documents = all[name]
  if (!documents) return true
  const event: StreamEvent = { documents, checkpoint }
  response.write(`data: ${JSON.stringify(event)}\n\n`)
  return true
}
