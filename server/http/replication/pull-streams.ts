import type { ServerResponse } from 'node:http'
import type { Frame, Resource, StreamEvent } from '../../../protocol/index.ts'
import type { Followers } from '../../realtime/followers.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'

const HEARTBEAT_MS = 20_000

/**
 * Changes of one resource as server-sent events, in the order of the feed, each with the checkpoint
 * after it. A client takes that as its own, so where the order would be in doubt the stream is ended
 * instead: the client opens another, and pulls.
 */
export function createPullStreams(followers: Followers, answers: OpenAnswers, now: () => Date) {
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
      // Joined before the headers go out: the client pulls when they arrive, and misses nothing.
      const { leave } = await followers.join(user, {
        frame: (frame) => write(frame),
        end: () => end(),
      })
      return { status: 200, headers: HEADERS, stream }

      function stream(response: ServerResponse) {
        if (response.destroyed) return leave() // gone while it joined
        end = () => {
          stop()
          response.end()
        }
        if (isOver) return void response.end()
        const isExpired = () => now().getTime() >= expires * 1000
        const heartbeat = setInterval(() => response.write(': still here\n\n'), HEARTBEAT_MS)
        const settle = answers.add({ session, expires }, end)
        open.add(end)
        response.once('close', stop)
        write = (frame) => {
          // What a reader has not taken by now it will pull: it waits in memory no longer.
          if (response.writableNeedDrain) response.destroy()
          else if (isExpired() || !writeEvent(response, resource, frame)) end()
        }
        response.write(': open\n\n')

        /** A reader may be slow to take the end: nothing is written after it. */
        function stop() {
          open.delete(end)
          clearInterval(heartbeat)
          settle()
          leave()
        }
      }
    },

    /** Ends all; their clients open others, elsewhere. */
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

/** @returns whether it could: there may be too many changes for one event */
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
