import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'

/** Checks kind, signature and expiry of access tokens, with what every Node has. */
export function tokenReader(secret: string) {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'tasktide tokens', 32))

  return (authorization: string | undefined): { user: string; expires: number } | undefined => {
    const [head, claims, signature] = (authorization?.slice('Bearer '.length) ?? '').split('.')
    if (!head || !claims || !signature) return undefined
    const { alg, typ } = JSON.parse(Buffer.from(head, 'base64url').toString())
    if (alg !== 'HS256' || typ !== 'at+jwt') return undefined
    const expected = createHmac('sha256', key).update(`${head}.${claims}`).digest()
    const given = Buffer.from(signature, 'base64url')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined
    const { sub, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString())
    return exp * 1000 > Date.now() ? { user: sub, expires: exp } : undefined
  }
}
