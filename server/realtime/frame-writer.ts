import type { Server, Socket } from 'socket.io'
import type { ClientEvents, Frame, Ready, ServerEvents } from '../../protocol/index.ts'
import type { BytesInFlight, Held } from '../runtime/bytes-in-flight.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { EncodedFrame } from './encoded-frame.ts'

/** What may wait for a socket that reads slowly, in bytes. Later frames are omitted, and it pulls instead. */
const MAX_WAITING_BYTES = 512 * 1024
/** So long may bytes wait without any that is taken. */
const STALLED_MS = 60_000

interface Data {
  user: string
  session: string
  expires: number
}
type None = Record<string, never>
export type LiveServer = Server<ClientEvents, ServerEvents, None, Data>
export type LiveSocket = Socket<ClientEvents, ServerEvents, None, Data>

/** Sends a frame to every socket that is given with it in one turn, and encodes it once for all of them. */
type Broadcast = (socket: LiveSocket, frame: Frame, sent: () => void) => void

export function createBroadcast(io: LiveServer): Broadcast {
  let frame: Frame | undefined
  let takers: { id: string; sent: () => void }[] = []
  return (socket, next, sent) => {
    if (next !== frame) {
      send()
      frame = next
      // All sockets of a user are offered a frame in one turn.
      queueMicrotask(send)
    }
    takers.push({ id: socket.id, sent })
  }

  function send() {
    if (!frame) return
    const [current, all] = [frame, takers]
    frame = undefined
    takers = []
    io.to(all.map(({ id }) => id)).emit('changes', current)
    for (const { sent } of all) sent()
  }
}

interface Dependencies {
  broadcast: Broadcast
  bytes: Pick<BytesInFlight, 'tryTake'>
  metrics: Pick<Metrics, 'frame'>
  /** Notes that a frame was sent. */
  sent: (frame: Frame) => void
  now: () => Date
}

/**
 * Writes frames to a socket no faster than the client reads them. What waits counts as bytes in flight of
 * its user.
 */
export function frameWriter(
  socket: LiveSocket,
  { broadcast, bytes, metrics, sent, now }: Dependencies,
) {
  const { conn } = socket
  const connection = conn.request.socket
  let ready = false
  /** The start of the omitted frames. */
  let omittedFrom: number | undefined
  let last: Ready | undefined
  /** Of the frames that are not handed to the connection yet. */
  let queued = 0
  let held: Held | undefined
  let stalled: NodeJS.Timeout | undefined
  conn.on('drain', () => {
    queued = 0
    progress()
  })
  conn.transport.on('drain', progress)
  conn.once('close', () => {
    clearTimeout(stalled)
    held?.release()
  })

  return {
    ready(head: Ready) {
      ready = true
      last ??= head
      if (isGood()) socket.emit('ready', last)
    },
    frame(frame: Frame, encoded?: EncodedFrame, committed?: number) {
      last = { seq: frame.seq, checkpoint: frame.checkpoint }
      if (!ready) return // `ready` will carry this head
      if (!isGood()) return
      const size = encoded?.bytes ?? 0
      if (omittedFrom !== undefined || waiting() + size > MAX_WAITING_BYTES) {
        omittedFrom ??= frame.prev
        return
      }
      queued += size
      broadcast(socket, frame, () => {
        if (waiting() > 0) hold(size)
        sent(frame)
        metrics.frame(committed === undefined ? undefined : now().getTime() - committed)
      })
    },
    end: () => socket.conn.close(), // the client reconnects and gets `ready` first
  }

  function waiting(): number {
    return queued + connection.writableLength
  }

  function hold(size: number) {
    stalled ??= setTimeout(drop, STALLED_MS)
    const had = held
    held ??= bytes.tryTake(socket.data.user, size)
    if (!held || (had && !had.tryAdd(size))) drop()
  }

  /** The client has read something. */
  function progress() {
    clearTimeout(stalled)
    stalled = undefined
    if (waiting() > 0) stalled = setTimeout(drop, STALLED_MS)
    else {
      held?.release()
      held = undefined
    }
    if (omittedFrom !== undefined && waiting() <= MAX_WAITING_BYTES / 2) catchUp(omittedFrom)
  }

  /** Announces the omitted changes, so that the client pulls them. */
  function catchUp(prev: number) {
    omittedFrom = undefined
    if (isGood()) socket.emit('changes', { prev, ...last! })
  }

  /** At once, with all that waits: the client reconnects. */
  function drop() {
    connection.destroy()
  }

  /** Timers may be late, but no event may be sent after the token expires. */
  function isGood(): boolean {
    if (now().getTime() < socket.data.expires * 1000) return true
    cut(socket)
    return false
  }
}

/** Disconnects a socket and drops what is buffered for it. */
export function cut(socket: LiveSocket): void {
  socket.disconnect(true)
  socket.conn.close(true)
}
