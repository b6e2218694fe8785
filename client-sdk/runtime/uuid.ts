import { ClientError } from './client-error.ts'

/** A UUIDv7: later ids sort later. */
export function uuidv7(now: number = Date.now()): string {
  const bytes = randomBytes(10)
  const random = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const time = now.toString(16).padStart(12, '0')
  const variant = '89ab'[bytes[2]! & 3]
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(5, 8)}-${random.slice(8)}`
}

/** @throws ClientError `no_random_values` without a secure source of random values */
export function randomBytes(count: number): Uint8Array {
  if (typeof globalThis.crypto?.getRandomValues !== 'function')
    throw new ClientError(
      'no_random_values',
      "crypto.getRandomValues is missing: in React Native, install react-native-get-random-values and put import 'react-native-get-random-values' first in the app's entry file.",
    )
  return globalThis.crypto.getRandomValues(new Uint8Array(count))
}
