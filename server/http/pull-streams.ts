import type { ServerResponse } from 'node:http'
import type { Frame, Resource } from '../../protocol/index.ts'
import type { Followers } from '../realtime/followers.ts'
import type { Answer, Call } from './operation.ts'

const HEARTBEAT_MS = 20_000

/**
 * Changes of one resource as server-sent events, in the order of the feed, each with the checkpoint
 * after it. A client takes that as its own, so where the order would be in doubt the stream is ended
 * instead: the client opens another, and pulls.
 */
export function createPullStreams(followers: Followers, now: () => Date) {
  const open = new Map<ServerResponse, string>()

  return {
    async serve(
      resource: Resource,
      { user, session, expires }: Pick<Call, 'user' | 'session' | 'expires'>,
    ): Promise<Answer> {
      let write = (_: Frame) => {}
      // Joined before the headers go out: the client pulls when they arrive, and misses nothing.
      const { leave } = await followers.join(user, { frame: (frame) => write(frame) })
      return { status: 200, headers: HEADERS, stream }

      function stream(response: ServerResponse) {
        const isExpired = () => now().getTime() >= expires * 1000
        const heartbeat = setInterval(() => response.write(': still here\n\n'), HEARTBEAT_MS)
        const expiry = setTimeout(() => response.end(), expires * 1000 - now().getTime())
        open.set(response, session)
        response.once('close', () => {
          open.delete(response)
          clearInterval(heartbeat)
          clearTimeout(expiry)
          leave()
        })
        write = (frame) => {
          if (isExpired()) response.end()
          else writeEvent(response, resource, frame)
        }
        response.write(': open\n\n')
      }
    },

    /** Ends the streams of a session, or all; their clients open others, or are refused. */
    end(session?: string): void {
      for (const [response, of] of open) if (session === undefined || of === session) response.end()
    },

    sessions: () => new Set(open.values()),
  }
}

export type PullStreams = ReturnType<typeof createPullStreams>

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
}

function writeEvent(
  response: ServerResponse,
  { name }: Resource,
  { seq, documents: all }: Frame,
): void {
  // Too many changes for one event, or a reader that does not keep up.
  if (!all || response.writableNeedDrain) {
    response.end()
    return
  }
  const documents = all[name]
  if (!documents) return
  const checkpoint = { id: documents.at(-1)!.id, lwt: seq }
  response.write(`data: ${JSON.stringify({ documents, checkpoint })}\n\n`)
}
