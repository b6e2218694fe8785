import { createHash, timingSafeEqual } from 'node:crypto'
import * as z from 'zod'
import { Problem } from '../../../protocol/index.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import { type Operation, operation } from '../operation.ts'

interface Dependencies {
  metrics: Pick<Metrics, 'text' | 'contentType'>
  /** Whether this access token's owner may. @throws Problem when it is none */
  mayRead(token: string): Promise<boolean>
  /** Who has it may read. */
  token: string | undefined
  /** Whether everybody may while there is none. */
  openWithoutToken: boolean
}

/** What Prometheus reads. To whoever may not, there is nothing here. */
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
    summary: 'Read how this node is doing',
    description:
      'For Prometheus. Takes `Authorization: Bearer` with the METRICS_TOKEN of the server, or with the access token of somebody in the role support or admin. Without a METRICS_TOKEN in its configuration, production answers no one else.',
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
