import type { IncomingMessage } from 'node:http'
import { createPlaces } from '../runtime/places.ts'

/** Connections that nobody has signed in on yet: they end after ten seconds. */
const MAX_PENDING = 1_000
/** A part of them, so that one network cannot keep out the others. */
const MAX_PENDING_OF_NETWORK = 250

export interface HandshakeRules {
  /** @returns why a handshake is refused before anything is known of its user */
  refusalOf(request: IncomingMessage): string | undefined
  networkOf(request: IncomingMessage): string
}

/** Limits the connections that wait to be signed in on: each costs memory, and nothing is known of its client. */
export function createHandshakes({ refusalOf, networkOf }: HandshakeRules) {
  const node = createPlaces(MAX_PENDING)
  const networks = createPlaces(MAX_PENDING_OF_NETWORK)
  const pending = new WeakMap<IncomingMessage, () => void>()

  return {
    /** @returns why it is refused; otherwise it is pending until `done`, or until its connection ends */
    begin(request: IncomingMessage): string | undefined {
      const refusal = refusalOf(request)
      if (refusal !== undefined) return refusal
      const leaveNetwork = networks.take(networkOf(request))
      const leaveNode = leaveNetwork && node.take('')
      if (!leaveNode) {
        leaveNetwork?.()
        return 'Too many connections wait to be signed in on; try again later.'
      }
      const leave = () => {
        leaveNetwork()
        leaveNode()
      }
      pending.set(request, leave)
      request.socket.once('close', leave)
      return undefined
    },
    /** Its user is known. */
    done: (request: IncomingMessage) => pending.get(request)?.(),
  }
}
