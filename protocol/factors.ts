import * as z from 'zod'
import { id } from './field.ts'
import { factorChallenge } from './problem.ts'

/** Schemas of second factors: authenticator apps (TOTP), passkeys and recovery codes. */

const ticket = z.string().min(1).max(4_096).describe('From the request before. Good for 5 minutes.')

/** As people read them from a screen or from paper: spaces and hyphens do not count. */
const code = z
  .string()
  .min(1)
  .max(40)
  .overwrite((value) => value.replaceAll(/[\s-]/g, ''))

const bytes = z.string().min(1).max(16_384).describe('Base64url.')

/** What a browser says of a passkey (`PublicKeyCredential.toJSON()`). Newer browsers may say more. */
const credential = <S extends z.ZodRawShape>(response: S) =>
  z.object({
    id: bytes,
    rawId: bytes,
    type: z.literal('public-key'),
    response: z.object({ clientDataJSON: bytes, ...response }),
    clientExtensionResults: z.object({}).optional(),
  })

const assertion = credential({
  authenticatorData: bytes,
  signature: bytes,
  userHandle: bytes.nullish(),
})
export type Assertion = z.output<typeof assertion>

const attestation = credential({
  attestationObject: bytes,
  transports: z.array(z.string().max(40)).max(10).optional(),
})
export type Attestation = z.output<typeof attestation>

/** One of the methods of the challenge. */
export const factorProof = z
  .strictObject({
    ticket,
    totp: code.optional().describe('The six digits that an authenticator app shows.'),
    recovery_code: code.optional().describe('One of the recovery codes. Each can be used once.'),
    passkey: assertion
      .optional()
      .describe('The answer of `navigator.credentials.get` to `public_key`, as JSON.'),
  })
  .refine(
    ({ totp, recovery_code, passkey }) =>
      [totp, recovery_code, passkey].filter((one) => one !== undefined).length === 1,
    'Send exactly one of totp, recovery_code and passkey.',
  )
  .describe('An answer to the challenge of a `factor_required`.')
export type FactorProof = z.output<typeof factorProof>

export const passkeyChallenge = factorChallenge.required()
export type PasskeyChallenge = z.output<typeof passkeyChallenge>

export const newTotp = z.strictObject({
  ticket,
  secret: z.string().describe('In base32, for typing it into an authenticator app.'),
  uri: z.string().describe('The same as an `otpauth:` URI, for a QR code.'),
})
export const confirmTotp = z.strictObject({ ticket, code })

export const newPasskey = z.strictObject({
  ticket,
  public_key: z
    .looseObject({ challenge: z.string() })
    .describe('For `navigator.credentials.create`, as JSON.'),
})

const name = z
  .string()
  .overwrite((value) => value.trim())
  .min(1, 'Enter a name, such as that of the device.')
  .max(100, 'Use at most 100 characters.')
  .refine((value) => !value.includes('\0'), 'Remove NUL characters.')

export const confirmPasskey = z.strictObject({
  ticket,
  name,
  passkey: attestation.describe('The answer of `navigator.credentials.create`, as JSON.'),
})
export const renamePasskey = z.strictObject({ name })

export const recoveryCodes = z.strictObject({
  recovery_codes: z
    .array(z.string())
    .describe('Shown this once. Empty if the account has had codes before.'),
})

const moment = z.iso.datetime()

export const passkey = z.strictObject({
  id: id(),
  name: z.string(),
  created_at: moment,
  last_used_at: moment.nullable(),
  is_synced: z.boolean().describe('Whether it is on all devices of its owner, not on one only.'),
})
export type Passkey = z.output<typeof passkey>

export const passkeys = z.strictObject({ results: z.array(passkey) })

export const factors = z.strictObject({
  totp_since: moment.nullable().describe('Since when an authenticator app is set up.'),
  passkeys: z.int(),
  recovery_codes: z.int().describe('How many are left.'),
  required: z.boolean().describe('Whether the role of the account requires a factor.'),
})
export type Factors = z.output<typeof factors>
