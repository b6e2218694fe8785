import type { Origin } from '../accounts/events.ts'
import { networkOf, siteOf } from './networks.ts'
import type { Call } from './operation.ts'

/** Where a request comes from, for security events and the audit log. */
export function originOf({ request }: Pick<Call, 'request'>): Origin {
  const { ip, res } = request
  return {
    ...(ip && { address: ip, site: siteOf(ip), network: networkOf(ip) }),
    user_agent: request.get('user-agent') ?? '',
    request_id: res!.locals.requestId,
  }
}
