import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import type { Attributes, Context, Span } from '@opentelemetry/api'
import type { Log } from './log.ts'
import { withinTime } from './time-limit.ts'

/** A lost collector must not hold up a node that stops. */
const STOP_MS = 2_000
const COMPLAINT_MS = 60_000
const MAX_REASON = 200

/**
 * Spans of this process, for OpenTelemetry. They carry names, numbers and statements without values: no
 * documents, no addresses, no tokens, no paths.
 */
export interface Tracing {
  /** Begins the span of a request, in the trace of its `traceparent` header if it has a valid one. */
  request(traceparent: string | undefined): RequestSpan
  /** Runs work in a span of the current trace, or without a span if there is none. */
  span<T>(name: string, attributes: Attributes, work: () => T): T
  /** Runs work in a span of the trace of `parent`, which `here()` of some node has returned. */
  continued<T>(parent: string | undefined, name: string, attributes: Attributes, work: () => T): T
  /** The current span as a W3C `traceparent`. */
  here(): string | undefined
  /** Exports what is left. */
  stop(): Promise<void>
}

interface RequestSpan {
  run(work: () => void): void
  end(name: string, attributes: Attributes, isFailure: boolean): void
}

/** Costs nothing. */
export const untraced: Tracing = {
  request: () => ({ run: (work) => work(), end() {} }),
  span: (_name, _attributes, work) => work(),
  continued: (_parent, _name, _attributes, work) => work(),
  here: () => undefined,
  async stop() {},
}

interface Options {
  /** The OTLP endpoint, without `/v1/traces`. */
  endpoint: string | undefined
  version: string
  log: Pick<Log, 'warn'>
}

/** Exports spans to a collector. Without an endpoint, the packages for that are not even loaded. */
export async function startTracing({ endpoint, version, log }: Options): Promise<Tracing> {
  if (endpoint === undefined) return untraced
  const [api, sdk, { OTLPTraceExporter }, resources] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace-base'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ])
  const complain = seldom((reason: string) =>
    log.warn({ reason: reason.slice(0, MAX_REASON) }, 'traces could not be exported'),
  )
  const silent = () => {}
  api.diag.setLogger(
    { error: complain, warn: complain, info: silent, debug: silent, verbose: silent },
    { logLevel: api.DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
  const provider = new sdk.BasicTracerProvider({
    resource: resources
      .resourceFromAttributes({
        'service.name': 'tasktide',
        'service.version': version,
        'service.instance.id': randomUUID(),
      })
      // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    // Keeps 2048 spans at most, and drops what does not fit.
    spanProcessors: [
      new sdk.BatchSpanProcessor(
        new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, '')}/v1/traces` }),
      ),
    ],
  })
  const tracer = provider.getTracer('tasktide')
  const current = new AsyncLocalStorage<Span>()
  const { SpanKind, SpanStatusCode } = api

  return {
    request(traceparent) {
      const span = tracer.startSpan('request', { kind: SpanKind.SERVER }, contextOf(traceparent))
      return {
        run: (work) => current.run(span, work),
        end(name, attributes, isFailure) {
          span.updateName(name).setAttributes(attributes)
          if (isFailure) span.setStatus({ code: SpanStatusCode.ERROR })
          span.end()
        },
      }
    },
    span(name, attributes, work) {
      const parent = current.getStore()
      // Timers and connections that a request has started outlive it.
      if (!parent?.isRecording()) return work()
      return runIn(api.trace.setSpan(api.ROOT_CONTEXT, parent), name, attributes, work)
    },
    continued(parent, name, attributes, work) {
      if (parent === undefined) return current.exit(work)
      return runIn(contextOf(parent), name, attributes, work)
    },
    here() {
      const span = current.getStore()
      if (!span?.isRecording()) return undefined
      const { traceId, spanId, traceFlags } = span.spanContext()
      return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
    },
    async stop() {
      await withinTime(STOP_MS, provider.shutdown()).catch(() => {})
    },
  }

  /** Ends the span with the promise that `work` returns, if it returns one. */
  function runIn<T>(context: Context, name: string, attributes: Attributes, work: () => T): T {
    const span = tracer.startSpan(name, { attributes }, context)
    let result: T
    try {
      result = current.run(span, work)
    } catch (error) {
      fail(span, error)
      throw error
    }
    if (!(result instanceof Promise)) span.end()
    else
      result.then(
        () => span.end(),
        (error) => fail(span, error),
      )
    return result
  }

  /** Codes only: messages of Postgres quote values. */
  function fail(span: Span, error: unknown): void {
    const { code, name } = error as { code?: unknown; name?: unknown }
    span.setAttribute('error.type', String(code ?? name))
    span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }

  function contextOf(traceparent: string | undefined): Context {
    const [, traceId, spanId, flags] = TRACEPARENT.exec(traceparent ?? '') ?? []
    const spanContext = {
      traceId: traceId!,
      spanId: spanId!,
      traceFlags: Number.parseInt(flags!, 16) & 1,
      isRemote: true,
    }
    if (!traceId || !api.isSpanContextValid(spanContext)) return api.ROOT_CONTEXT
    return api.trace.setSpanContext(api.ROOT_CONTEXT, spanContext)
  }
}

const TRACEPARENT = /^[\da-f]{2}-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-|$)/

/** Passes on one call a minute. */
function seldom<T>(work: (value: T) => void): (value: T) => void {
  let since = Number.NEGATIVE_INFINITY
  return (value) => {
    if (performance.now() - since < COMPLAINT_MS) return
    since = performance.now()
    work(value)
  }
}
