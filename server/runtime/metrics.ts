import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { withinTime } from './time-limit.ts'

const SECONDS = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
/** Longer than the limit of `/readyz`, which is one of the gauges. */
const GAUGE_MS = 2_500

export type Metrics = ReturnType<typeof createMetrics>

/**
 * The Prometheus metrics of this process. No label comes from a client or identifies a user, so the
 * number of series does not grow.
 */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Histogram({
    name: 'tasktide_http_request_seconds',
    help: 'Duration of requests by operation (as in OpenAPI; "none" for files and unknown paths), method and status, without event streams. Status 499: the client closed the connection before the end of the answer.',
    labelNames: ['operation', 'method', 'status'] as const,
    buckets: SECONDS,
    registers,
  })
  const streams = new Gauge({
    name: 'tasktide_event_streams_open',
    help: 'Open event streams (pullStream).',
    registers,
  })
  const frames = new Counter({
    name: 'tasktide_frames_sent_total',
    help: 'Frames of changes handed to sockets.',
    registers,
  })
  const commitToDevice = new Histogram({
    name: 'tasktide_commit_to_device_seconds',
    help: 'Time from a commit to the hand-over of its frame to a socket, also across nodes.',
    buckets: SECONDS,
    registers,
  })
  const refusedSockets = new Counter({
    name: 'tasktide_sockets_refused_total',
    help: 'Sockets rejected because of their token, because it could not be checked, or because their user has too many.',
    registers,
  })
  const refusedStreams = new Counter({
    name: 'tasktide_event_streams_refused_total',
    help: 'Event streams (pullStream) rejected because their user has too many.',
    registers,
  })
  const lostHints = new Counter({
    name: 'tasktide_hints_lost_total',
    help: 'Changes that were found only by looking at the feeds, every three seconds, and whose hint never came. It also counts changes by SQL.',
    registers,
  })
  const pages = new Counter({
    name: 'tasktide_pages_total',
    help: 'Pages of pulls, by where they were read: "primary" or "replica" (DATABASE_REPLICA_URL).',
    labelNames: ['source'] as const,
    registers,
  })
  const selfChecks = new Counter({
    name: 'tasktide_self_checks_total',
    help: 'Self-checks of devices by resource and result: `equal`; `different` (the device repairs what differs); `behind` (changed meanwhile, repeated); `incomparable` (another release of the app).',
    labelNames: ['resource', 'result'] as const,
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
    /** @returns a function to call at the end of the stream */
    stream(): () => void {
      streams.inc()
      return () => streams.dec()
    },
    /** @param milliseconds since the commit of its first change, if known */
    frame(milliseconds: number | undefined) {
      frames.inc()
      // The clocks of two nodes differ by some milliseconds.
      if (milliseconds !== undefined) commitToDevice.observe(Math.max(0, milliseconds) / 1000)
    },
    refusedSocket: () => refusedSockets.inc(),
    refusedStream: () => refusedStreams.inc(),
    lostHint: () => lostHints.inc(),
    page: (source: 'primary' | 'replica') => pages.inc({ source }),
    selfCheck: (resource: string, result: string, count = 1) =>
      selfChecks.inc({ resource, result }, count),
    /** A value that is read on each scrape, and omitted if that fails. */
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
    /** A count that is kept elsewhere. */
    counter(name: string, help: string, read: () => number) {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    },
    /** For each of some names, whether it is the case, read on each scrape, and omitted if that fails. */
    states<Name extends string>(
      name: string,
      help: string,
      label: string,
      names: readonly Name[],
      read: () => Promise<readonly Name[]>,
    ) {
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers,
        async collect() {
          this.reset()
          const found = await withinTime(GAUGE_MS, read()).catch(() => undefined)
          if (found)
            for (const each of names) this.set({ [label]: each }, Number(found.includes(each)))
        },
      })
    },
    /** What is registered, for the documentation. */
    descriptions: () =>
      registry
        .getMetricsAsArray()
        .map((metric) => metric as typeof metric & { labelNames: string[] })
        .map(({ name, help, labelNames }) => ({ name, help, labels: labelNames })),
    contentType: registry.contentType,
    async text(): Promise<string> {
      // Default metrics cost something, so they start with the first scrape.
      if (!began) collectDefaultMetrics({ register: registry })
      began = true
      return registry.metrics()
    },
  }
}
