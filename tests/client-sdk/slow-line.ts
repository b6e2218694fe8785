import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

const TICK_MS = 10
const PACKET_BYTES = 1_000

export interface SlowLine {
  url: string
  /** How many bytes have come from the server. */
  received(): number
  close(): Promise<void>
}

/**
 * A line to the server that carries so many bytes in a second, each way, for all connections together.
 *
 * @param delayMs how long each byte takes besides, one way
 */
export async function createSlowLine(
  target: string,
  bytesPerSecond: number,
  delayMs = 0,
): Promise<SlowLine> {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  const directions = {
    up: new Direction(bytesPerSecond, delayMs),
    down: new Direction(bytesPerSecond, delayMs),
  }
  const server = createServer((near) => {
    const far = connect(Number(port), hostname)
    directions.up.carry(near, far)
    directions.down.carry(far, near)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        near.destroy()
        far.destroy()
        sockets.delete(socket)
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => directions.down.carried,
    async close() {
      for (const direction of Object.values(directions)) direction.stop()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** One way of the line, which its connections share equally. A closed connection takes none of it. */
class Direction {
  carried = 0
  private readonly waiting = new Map<Socket, Buffer>()
  private readonly timer: ReturnType<typeof setInterval>
  private readonly delayMs: number

  constructor(bytesPerSecond: number, delayMs: number) {
    this.delayMs = delayMs
    let before = performance.now()
    this.timer = setInterval(() => {
      const now = performance.now()
      // Timers may be late, and the line must not be slower for that.
      this.release((bytesPerSecond * (now - before)) / 1000)
      before = now
    }, TICK_MS)
  }

  carry(from: Socket, to: Socket): void {
    from.on('data', (bytes: Buffer) => {
      this.waiting.set(to, Buffer.concat([this.waiting.get(to) ?? Buffer.alloc(0), bytes]))
    })
    to.on('close', () => this.waiting.delete(to))
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private release(count: number): void {
    for (let left = count; left > 0; left -= PACKET_BYTES) {
      const [first] = this.waiting
      if (!first) return
      const [to, bytes] = first
      const packet = bytes.subarray(0, PACKET_BYTES)
      this.carried += packet.length
      if (this.delayMs > 0) setTimeout(() => to.write(packet), this.delayMs)
      else to.write(packet)
      this.waiting.delete(to)
      if (bytes.length > PACKET_BYTES) this.waiting.set(to, bytes.subarray(PACKET_BYTES))
    }
  }
}
