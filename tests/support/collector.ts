import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'vitest'

export interface CollectedSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  attributes: Record<string, unknown>
  status: { code?: number }
  /** The process that it is from. */
  instance: unknown
}

interface KeyValue {
  key: string
  value: Record<string, unknown>
}

/** A collector of OpenTelemetry traces: OTLP over HTTP, as JSON. */
export async function openCollector() {
  const spans: CollectedSpan[] = []
  const bodies: string[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    expect(request.url).toBe('/v1/traces')
    bodies.push(body)
    for (const { resource, scopeSpans } of JSON.parse(body).resourceSpans)
      for (const span of scopeSpans.flatMap(({ spans }: { spans: object[] }) => spans))
        spans.push({
          ...span,
          attributes: valuesOf(span.attributes),
          instance: valuesOf(resource.attributes)['service.instance.id'],
        })
    response.setHeader('Content-Type', 'application/json').end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    /** All that was received, as text. */
    received: () => bodies.join('\n'),
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

const valuesOf = (attributes: KeyValue[]) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
