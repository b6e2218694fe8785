import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import type { Secrets } from './secrets.ts'

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

export interface Sealed {
  secret: Buffer
  /** Which key it is encrypted with. */
  key_id: string
}

/**
 * Encrypts what has to be read again, so a copy of the database alone is of no use. The key is derived from
 * SECRET_KEY; what SECRET_KEY_PREVIOUS has encrypted can still be read. Bound to its user: nobody who can
 * write to the database can give their own secret to somebody else.
 */
export function createSeal(secrets: Secrets) {
  const keys = new Map(secrets.map(deriveKey))
  const [keyId, current] = deriveKey(secrets[0])

  return {
    /** The id of the current key. */
    keyId,

    seal(text: string, user: string): Sealed {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, current, nonce).setAAD(Buffer.from(user))
      const encrypted = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
      return { secret: Buffer.concat([nonce, cipher.getAuthTag(), encrypted]), key_id: keyId }
    },

    /** @throws if it was encrypted with an unknown key or for somebody else */
    open({ secret, key_id }: Sealed, user: string): string {
      const key = keys.get(key_id)
      if (!key)
        throw new Error(
          'A second factor was encrypted with another SECRET_KEY: set it as SECRET_KEY_PREVIOUS.',
        )
      const at = NONCE_BYTES + TAG_BYTES
      const decipher = createDecipheriv(CIPHER, key, secret.subarray(0, NONCE_BYTES))
        .setAAD(Buffer.from(user))
        .setAuthTag(secret.subarray(NONCE_BYTES, at))
      return Buffer.concat([decipher.update(secret.subarray(at)), decipher.final()]).toString()
    },
  }
}

export type Seal = ReturnType<typeof createSeal>

function deriveKey(secret: string): [id: string, key: Buffer] {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'tasktide factors', 32))
  return [createHash('sha256').update(key).digest('base64url').slice(0, 8), key]
}
