import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Secrets } from './secrets.ts'

const MAX_MARKS = 8

/**
 * Marks of devices that have signed in. A mark is good for nothing but to be no stranger at the next sign-in
 * to the same account: without the password it opens nothing.
 */
export function deviceMarks(secrets: Secrets) {
  const keys = secrets.map((secret) => hkdfSync('sha256', secret, '', 'tasktide device marks', 32))

  return {
    /** A new mark for a device of this user. */
    issue(user: string): string {
      const device = randomBytes(9).toString('base64url')
      return `${device}.${sign(keys[0]!, user, device)}`
    },

    /** The device of this user that one of the marks stands for, if any. */
    deviceOf(user: string, marks: string): string | undefined {
      for (const mark of marks.split(',').slice(0, MAX_MARKS)) {
        const [device = '', signature = ''] = mark.trim().split('.')
        if (keys.some((key) => isEqual(sign(key, user, device), signature))) return device
      }
      return undefined
    },
  }
}

export type DeviceMarks = ReturnType<typeof deviceMarks>

const sign = (key: ArrayBuffer, user: string, device: string) =>
  createHmac('sha256', Buffer.from(key)).update(`${user} ${device}`).digest('base64url')

function isEqual(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}
