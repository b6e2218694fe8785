import type { IncomingMessage } from 'node:http'
import type { Request } from 'express'
import { siteOf } from './networks.ts'
import { hostFault } from './requests.ts'

interface Rules {
  publicUrl: string | undefined
  /** Allowed origins of web apps, or `*`. */
  origins: readonly string[]
  /** Plain HTTP is refused. */
  needsHttps: boolean
}

/**
 * The rules for handshakes of sockets. Browsers send the origin of the page, and do not ask for permission as
 * they do before requests of HTTP; native apps send none, or that of the server.
 */
export function handshakeRules({ publicUrl, origins, needsHttps }: Rules) {
  const allowed = new Set([...origins, ...(publicUrl ? [new URL(publicUrl).origin] : [])])
  return {
    refusalOf(message: IncomingMessage): string | undefined {
      const request = message as Request
      const fault = hostFault(request)
      if (fault) return fault
      if (needsHttps && !request.secure) return `Use ${publicUrl!.replace(/^http/, 'ws')}.`
      const { origin } = request.headers
      if (origin === undefined || allowed.has('*') || allowed.has(origin)) return undefined
      // Without a public URL, the server is where the client found it.
      if (!publicUrl && isHostOf(origin, request.headers.host)) return undefined
      return 'Web apps on this origin may not connect; the operator can add it to CORS_ORIGINS.'
    },
    networkOf: (message: IncomingMessage) => siteOf((message as Request).ip),
  }
}

function isHostOf(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase()
}
