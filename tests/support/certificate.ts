import { generateKeyPairSync, sign } from 'node:crypto'

const DAY_MS = 24 * 60 * 60 * 1000
const ECDSA_WITH_SHA256 = '06082a8648ce3d040302'
const COMMON_NAME = '0603550403'
const SUBJECT_ALT_NAME = '0603551d11'

/** A self-signed certificate for `localhost`, valid for a day, and its key, as PEM. */
export function createCertificate(): { certificate: string; key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = der(0x30, hex(ECDSA_WITH_SHA256))
  const text = Buffer.from('localhost')
  const name = der(0x30, der(0x31, der(0x30, hex(COMMON_NAME), der(0x0c, text))))
  const alternative = der(0x30, hex(SUBJECT_ALT_NAME), der(0x04, der(0x30, der(0x82, text))))
  const content = der(
    0x30,
    der(0xa0, der(0x02, hex('02'))), // version 3
    der(0x02, hex('01')),
    algorithm,
    name,
    der(0x30, time(Date.now() - DAY_MS), time(Date.now() + DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(0x30, alternative)),
  )
  const signature = der(0x03, hex('00'), sign('sha256', content, privateKey))
  const base64 = der(0x30, content, algorithm, signature).toString('base64')
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

/** A value in DER: its type, its length, its parts. */
function der(type: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size =
    length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([type, ...size]), content])
}

/** YYMMDDhhmmssZ */
const time = (at: number) =>
  der(0x17, Buffer.from(`${new Date(at).toISOString().replace(/\D/g, '').slice(2, 14)}Z`))

const hex = (digits: string) => Buffer.from(digits, 'hex')
