import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { withinTime } from './time-limit.ts'

const SECONDS = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const GAUGE_MS = 2_000

export type Metrics = ReturnType<typeof createMetrics>

/**
 * What this process tells Prometheus. No label is chosen from outside or is of a person, so there
 * are as many series after a year as after a day.
 */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Histogram({
    name: 'tasktide_http_request_seconds',
    help: 'How long requests took; those of no operation are "none", event streams are left out.',
    labelNames: ['operation', 'method', 'status'] as const,
    buckets: SECONDS,
    registers,
  })
  const streams = new Gauge({
    name: 'tasktide_event_streams_open',
    help: 'Event streams (pullStream) that are open.',
    registers,
  })
  const frames = new Counter({
    name: 'tasktide_frames_sent_total',
    help: 'Frames of changes that were handed to sockets.',
    registers,
  })
  const commitToDevice = new Histogram({
    name: 'tasktide_commit_to_device_seconds',
    help: 'From the commit of a write to the frame being handed to a socket, on whichever node.',
    buckets: SECONDS,
    registers,
  })
  const refusedSockets = new Counter({
    name: 'tasktide_sockets_refused_total',
    help: 'Sockets that were refused, for their token or because it could not be looked up.',
    registers,
  })
  let began = false

  return {
    request(operation: string | undefined, method: string, status: number, milliseconds: number) {
      const labels = {
        operation: operation ?? 'none',
        method: METHODS.has(method) ? method : 'other',
        status,
      }
      requests.observe(labels, milliseconds / 1000)
    },
    /** @returns to be called at its end */
    stream(): () => void {
      streams.inc()
      return () => streams.dec()
    },
    /** @param committed when the first of its changes was, as far as that is known */
    frame(committed: number | undefined) {
      frames.inc()
      // Another node's clock may be ahead.
      if (committed !== undefined)
        commitToDevice.observe(Math.max(0, Date.now() - committed) / 1000)
    },
    refusedSocket: () => refusedSockets.inc(),
    /** A number that is asked for when somebody reads; while it cannot be had, it is left out. */
    gauge(name: string, help: string, read: () => number | Promise<number>) {
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          try {
            this.set(await withinTime(GAUGE_MS, Promise.resolve(read())))
          } catch {
            this.remove()
          }
        },
      })
    },
    contentType: registry.contentType,
    async text(): Promise<string> {
      // Watching the engine's own affairs costs something; who is never asked does not pay.
      if (!began) collectDefaultMetrics({ register: registry })
      began = true
      return registry.metrics()
    },
  }
}
