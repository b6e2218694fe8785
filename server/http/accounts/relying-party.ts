import type { Request } from 'express'
import type { RelyingParty } from '../../accounts/passkeys.ts'

/**
 * Whom passkeys are for: the public URL. Without one it is the host that the request names: a browser gives
 * away no passkey of another host, whatever the request says.
 */
export function relyingParty(publicUrl: string | undefined, request: Request): RelyingParty {
  const url = publicUrl ?? `${request.protocol}://${request.get('host') ?? 'localhost'}`
  const { hostname: id, origin } = new URL(url)
  return { id, origin }
}
