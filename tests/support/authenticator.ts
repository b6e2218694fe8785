import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** What the server has sent for `navigator.credentials`. */
interface Options {
  challenge: string
  rpId?: string
  rp?: { id: string }
  user?: { id: string }
}

interface Answering {
  origin: string
  /** Whether it has asked its owner for a PIN or a fingerprint. */
  verifies?: boolean
  /** As if somebody had used a copy of it. */
  counter?: number
}

const FLAGS = { present: 1, verified: 4, attested: 64 }

/** A passkey in software, for tests without a browser: one credential, which counts its uses. */
export class Authenticator {
  readonly id = randomBytes(16).toString('base64url')
  counter = 0
  private readonly key: KeyObject
  private readonly publicKey: Buffer
  private handle: string | undefined

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { x, y } = publicKey.export({ format: 'jwk' })
    this.key = privateKey
    // A COSE key: ES256 on P-256.
    this.publicKey = map(
      [number(1), number(2)],
      [number(3), number(-7)],
      [number(-1), number(1)],
      [number(-2), bytes(Buffer.from(x!, 'base64url'))],
      [number(-3), bytes(Buffer.from(y!, 'base64url'))],
    )
  }

  /** @param statement the attestation of its maker, if it makes one */
  create(
    { challenge, rp, user }: Options,
    { origin, verifies = true }: Answering,
    { format = 'none', statement = map() } = {},
  ) {
    this.handle = user!.id
    const id = Buffer.from(this.id, 'base64url')
    const length = Buffer.alloc(2)
    length.writeUInt16BE(id.length)
    const attested = Buffer.concat([Buffer.alloc(16), length, id, this.publicKey])
    const authData = Buffer.concat([this.dataFor(rp!.id, verifies, FLAGS.attested), attested])
    const attestationObject = map(
      [text('fmt'), text(format)],
      [text('attStmt'), statement],
      [text('authData'), bytes(authData)],
    )
    const clientData = clientDataOf('webauthn.create', challenge, origin)
    return this.credential({
      clientDataJSON: clientData.toString('base64url'),
      attestationObject: attestationObject.toString('base64url'),
      transports: ['internal'],
    })
  }

  get({ challenge, rpId }: Options, { origin, verifies = true, counter }: Answering) {
    this.counter = counter ?? this.counter + 1
    const authenticatorData = this.dataFor(rpId!, verifies)
    const clientData = clientDataOf('webauthn.get', challenge, origin)
    const signed = Buffer.concat([authenticatorData, sha256(clientData)])
    return this.credential({
      clientDataJSON: clientData.toString('base64url'),
      authenticatorData: authenticatorData.toString('base64url'),
      signature: sign('sha256', signed, this.key).toString('base64url'),
      userHandle: this.handle,
    })
  }

  private credential<R>(response: R) {
    const { id } = this
    return { id, rawId: id, type: 'public-key', response, clientExtensionResults: {} }
  }

  private dataFor(rpId: string, verifies: boolean, more = 0): Buffer {
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(this.counter)
    const flags = FLAGS.present | (verifies ? FLAGS.verified : 0) | more
    return Buffer.concat([sha256(rpId), Buffer.from([flags]), counter])
  }
}

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest()

const clientDataOf = (type: string, challenge: string, origin: string) =>
  Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }))

/** CBOR, as far as it is needed here. */
function head(major: number, value: number): Buffer {
  if (value < 24) return Buffer.from([(major << 5) | value])
  if (value < 256) return Buffer.from([(major << 5) | 24, value])
  return Buffer.from([(major << 5) | 25, value >> 8, value & 255])
}

const number = (value: number) => (value < 0 ? head(1, -1 - value) : head(0, value))

export const bytes = (value: Buffer) => Buffer.concat([head(2, value.length), value])

export const text = (value: string) =>
  Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)])

export const list = (...items: Buffer[]) => Buffer.concat([head(4, items.length), ...items])

export const map = (...entries: [Buffer, Buffer][]) =>
  Buffer.concat([head(5, entries.length), ...entries.flat()])

export { number }
