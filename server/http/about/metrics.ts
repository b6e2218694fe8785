import { createHash, timingSafeEqual } from 'node:crypto'
import * as z from 'zod'
import { Problem } from '../../../protocol/index.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import { type Operation, operation } from '../operation.ts'

interface Dependencies {
  metrics: Pick<Metrics, 'text' | 'contentType'>
  /** Whether the user of this access token has permission. @throws Problem if the token is invalid */
  mayRead(token: string): Promise<boolean>
  /** The METRICS_TOKEN. */
  token: string | undefined
  /** Whether no token is needed while METRICS_TOKEN is unset. */
  openWithoutToken: boolean
}

/** Metrics for Prometheus. 404 without permission. */
export function metricsOperation({
  metrics,
  mayRead,
  token,
  openWithoutToken,
}: Dependencies): Operation {
  return operation({
    id: 'get_metrics',
    tag: 'about',
    method: 'get',
    path: '/metrics',
    access: 'open',
    summary: 'Get the metrics of this node',
    description:
      'In the Prometheus format. Requires `Authorization: Bearer` with the METRICS_TOKEN of the server, or with the access token of a user with the role support or admin. In development without a METRICS_TOKEN, no token is required.',
    answers: {
      200: {
        description: 'The metrics of this process.',
        name: 'Metrics',
        schema: z.string(),
        mediaTypes: ['text/plain'],
        example: '# TYPE tasktide_sockets_open gauge\ntasktide_sockets_open 2\n',
      },
    },
    problems: ['not_found'],
    async handle({ request }) {
      if (!(await isAllowed(request.headers.authorization))) throw new Problem('not_found')
      return {
        status: 200,
        headers: { 'Content-Type': metrics.contentType, 'Cache-Control': 'no-store' },
        body: await metrics.text(),
      }
    },
  })

  async function isAllowed(authorization = ''): Promise<boolean> {
    if (token === undefined && openWithoutToken) return true
    const given = /^Bearer +(.+)$/i.exec(authorization)?.[1] ?? ''
    if (token !== undefined && timingSafeEqual(digest(given), digest(token))) return true
    return mayRead(given).catch((error) => {
      if (error instanceof Problem) return false
      throw error
    })
  }
}

const digest = (text: string) => createHash('sha256').update(text).digest()
