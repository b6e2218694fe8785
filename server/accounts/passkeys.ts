import { v7 as uuidv7 } from 'uuid'
import {
  type Assertion,
  type Attestation,
  invalid,
  type Passkey,
  Problem,
} from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'

/** Whom passkeys are for: the host name that they are bound to, and the origin of the web app. */
export interface RelyingParty {
  id: string
  origin: string
}

interface Row {
  id: string
  name: string
  credential_id: Buffer
  public_key: Buffer
  counter: string
  transports: string[]
  is_synced: boolean
  created_at: Date
  last_used_at: Date | null
}

/** More than anybody has devices. */
const MAX_PASSKEYS = 20

/** Loaded when somebody uses a passkey: it takes half a second, which a start need not wait for. */
const webauthn = () => import('@simplewebauthn/server')

/** Passkeys and security keys. */
export function createPasskeys(db: Database, now: () => Date) {
  return {
    async list(user: string): Promise<Passkey[]> {
      return (await rowsOf(user)).map(inJson)
    },

    count,

    /** The options for `navigator.credentials.create`. */
    async optionsToCreate(
      { id: user, username }: { id: string; username: string },
      rp: RelyingParty,
      challenge: string,
    ) {
      const { generateRegistrationOptions } = await webauthn()
      return generateRegistrationOptions({
        rpName: 'Tasktide',
        rpID: rp.id,
        userName: username,
        // Shown to whoever has the authenticator in their hands, so it is not the name.
        userID: new Uint8Array(handleOf(user)),
        challenge: bytesOf(challenge),
        excludeCredentials: (await rowsOf(user)).map(descriptorOf),
        authenticatorSelection: { residentKey: 'preferred', userVerification: 'preferred' },
      })
    },

    /**
     * The options for `navigator.credentials.get`.
     *
     * @param user undefined to let the passkey say who it is; it then has to verify its owner
     */
    async optionsToGet(user: string | undefined, rp: RelyingParty, challenge: string) {
      const { generateAuthenticationOptions } = await webauthn()
      return generateAuthenticationOptions({
        rpID: rp.id,
        challenge: bytesOf(challenge),
        userVerification: user ? 'preferred' : 'required',
        ...(user && { allowCredentials: (await rowsOf(user)).map(descriptorOf) }),
      })
    },

    /** @throws Problem `factor_not_valid`; `invalid` if it is here already, or one too many */
    async add(
      trx: Database,
      user: string,
      { name, passkey }: { name: string; passkey: Attestation },
      rp: RelyingParty,
      challenge: string,
    ): Promise<void> {
      const { verifyRegistrationResponse } = await webauthn()
      await refuseCertificates(passkey)
      const { registrationInfo } = await verifyRegistrationResponse({
        response: passkey as never,
        expectedChallenge: challenge,
        expectedOrigin: rp.origin,
        expectedRPID: rp.id,
        requireUserVerification: false,
      }).catch(notValid)
      if (!registrationInfo) throw notValid()
      if ((await count(user, trx)) >= MAX_PASSKEYS)
        throw new Problem(
          'invalid',
          `You have ${MAX_PASSKEYS} passkeys; remove one that you no longer use.`,
        )
      const { credential, credentialBackedUp } = registrationInfo
      const added = await trx('passkeys')
        .insert({
          user_id: user,
          id: uuidv7(),
          name,
          credential_id: Buffer.from(credential.id, 'base64url'),
          public_key: Buffer.from(credential.publicKey),
          counter: credential.counter,
          transports: passkey.response.transports ?? [],
          is_synced: credentialBackedUp,
          created_at: now(),
        })
        .onConflict(['user_id', 'credential_id'])
        .ignore()
        .returning('id')
      if (added.length === 0)
        throw invalid('body', { passkey: ['Your account has this passkey already.'] })
    },

    /**
     * Checks a passkey's answer to the challenge. A passkey that counts its uses must have counted on: if
     * not, somebody has a copy of it.
     *
     * @param isAlone whether it is the only proof; it then has to verify its owner, by PIN or fingerprint
     * @throws Problem `factor_not_valid`
     */
    async use(
      user: string,
      passkey: Assertion,
      { rp, challenge, isAlone }: { rp: RelyingParty; challenge: string; isAlone: boolean },
    ): Promise<void> {
      const credential_id = Buffer.from(passkey.id, 'base64url')
      const row = await db('passkeys')
        .where({ user_id: user, credential_id })
        .first<Row | undefined>()
      if (!row) throw notValid()
      const { verifyAuthenticationResponse } = await webauthn()
      const { verified, authenticationInfo } = await verifyAuthenticationResponse({
        response: { clientExtensionResults: {}, ...passkey } as never,
        expectedChallenge: challenge,
        expectedOrigin: rp.origin,
        expectedRPID: rp.id,
        requireUserVerification: isAlone,
        credential: {
          id: passkey.id,
          publicKey: new Uint8Array(row.public_key),
          counter: Number(row.counter),
        },
      }).catch(notValid)
      if (!verified) throw notValid()
      const { newCounter: counter, credentialBackedUp: is_synced } = authenticationInfo
      const used = await db('passkeys')
        .where({ user_id: user, id: row.id })
        // Two nodes may have the same answer at the same time.
        .whereRaw('(counter < ? or counter = 0 and ? = 0)', [counter, counter])
        .update({ counter, is_synced, last_used_at: now() })
      if (used === 0) throw notValid()
    },

    /** @returns undefined if there is none with this id */
    async rename(user: string, id: string, name: string): Promise<Passkey | undefined> {
      const [row] = await db('passkeys')
        .where({ user_id: user, id })
        .update({ name })
        .returning<Row[]>('*')
      return row && inJson(row)
    },

    /** @returns whether there was one with this id */
    async remove(trx: Database, user: string, id: string): Promise<boolean> {
      return (await trx('passkeys').where({ user_id: user, id }).delete()) > 0
    },
  }

  function rowsOf(user: string): Promise<Row[]> {
    return db('passkeys').where({ user_id: user }).orderBy('id').select<Row[]>()
  }

  async function count(user: string, trx: Database = db): Promise<number> {
    const [found] = await trx('passkeys').where({ user_id: user }).count<{ count: string }[]>()
    return Number(found!.count)
  }
}

/** The user that a passkey belongs to, by its own account; whether that is true, its signature tells. */
export function userOfHandle(handle: string | null | undefined): string | undefined {
  const hex = Buffer.from(handle ?? '', 'base64url').toString('hex')
  return hex.length === 32 ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') : undefined
}

const handleOf = (user: string) => Buffer.from(user.replaceAll('-', ''), 'hex')

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'base64url'))

const descriptorOf = ({ credential_id, transports }: Row) => ({
  id: credential_id.toString('base64url'),
  transports,
})

function inJson({ id, name, created_at, last_used_at, is_synced }: Row): Passkey {
  return {
    id,
    name,
    created_at: created_at.toISOString(),
    last_used_at: last_used_at?.toISOString() ?? null,
    is_synced,
  }
}

/**
 * We ask for no certificate of the authenticator's maker, and browsers send none. The library would follow
 * links in one to lists of revoked certificates.
 */
async function refuseCertificates({ response }: Attestation): Promise<void> {
  const { decodeAttestationObject } = await import('@simplewebauthn/server/helpers')
  try {
    const attested = decodeAttestationObject(
      new Uint8Array(Buffer.from(response.attestationObject, 'base64url')),
    )
    const format = attested.get('fmt')
    const isSelfSigned = format === 'packed' && !attested.get('attStmt').get('x5c')
    if (format === 'none' || isSelfSigned) return
  } catch (error) {
    notValid(error)
  }
  notValid()
}

/** Whatever is wrong with it: the library throws for each fault, in words for developers. */
function notValid(cause?: unknown): never {
  throw new Problem('factor_not_valid', 'The passkey was not accepted; try again.', { cause })
}
