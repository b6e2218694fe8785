import * as z from 'zod'
import { factorProof } from './factors.ts'
import { profile } from './profile.ts'

/** Schemas of the account endpoints. Accounts are not a resource, because they never replicate. */

const PASSWORD_MIN_CHARACTERS = 8

/** Longer texts are rejected before normalization, whose time can grow quadratically. */
const MAX_UNREAD = 1_000

/** No invisible characters: two names that look the same must not be two users. */
const USERNAME =
  /^(?!\p{Default_Ignorable_Code_Point})[\p{L}\p{N}](?:(?!\p{Default_Ignorable_Code_Point})[\p{L}\p{M}\p{N}._+-])*$/u

/** Weaker, for descriptions: generated clients of other languages cannot compile the other one. */
const PORTABLE_USERNAME = '^[^\\s@]+$'

/** No @ in a username, so that a sign-in name is either an email address or a username. */
export const username = z
  .string()
  .max(MAX_UNREAD, { error: 'Use at most 150 characters.', abort: true })
  .overwrite((value) => value.normalize('NFKC'))
  .min(1, 'Choose a username.')
  .max(150, 'Use at most 150 characters.')
  .regex(USERNAME, 'Use only letters, digits and . _ + -, and begin with a letter or a digit.')
  .meta({ pattern: PORTABLE_USERNAME })

/**
 * The addresses that mail reaches without SMTPUTF8 (RFC 5321, without quotes and literals), under a domain
 * with a dot: `first&last@example.org`, `info@xn--e1afmkfd.xn--p1ai`.
 */
const EMAIL =
  /^(?=[^@]{1,64}@)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(?:[A-Za-z]{2,63}|[Xx][Nn]--[A-Za-z0-9-]{0,58}[A-Za-z0-9])$/

export const email = z
  .email({ pattern: EMAIL, error: 'Use an email address such as ann@example.com.' })
  .max(254, 'Use at most 254 characters.')

/** Normalised (NFKC, as RFC 8265 asks), so that the same keys give the same bytes on every device. */
export const password = z
  .string()
  .max(MAX_UNREAD, { error: `Use at most ${MAX_UNREAD} characters.`, abort: true })
  .overwrite((value) => value.normalize('NFKC'))
  .refine((value) => [...value].length >= PASSWORD_MIN_CHARACTERS, 'Use at least 8 characters.')
  .refine((value) => !value.includes('\0'), 'Remove NUL characters.')
  .meta({ minLength: PASSWORD_MIN_CHARACTERS, maxLength: MAX_UNREAD, format: 'password' })

export const registration = z.strictObject({
  username,
  email,
  password,
  timezone: profile.fields.timezone.schema
    .optional()
    .describe('The initial IANA timezone of the profile. Default: UTC.'),
  locale: profile.fields.locale.schema
    .optional()
    .describe('The initial language of the profile. Default: English.'),
  invite: z
    .string()
    .min(1)
    .max(2_000)
    .optional()
    .describe('The token of an invitation, where only invited people can register.'),
})

/** Grants permissions beyond the user's own account. */
export const role = z.enum(['user', 'support', 'admin'])
export type Role = z.output<typeof role>

export const account = z.strictObject({
  id: z.uuid(),
  username: z.string(),
  email: z
    .string()
    .describe('Empty after the owner of the address has said that the account is not theirs.'),
  email_verified_at: z.iso.datetime().nullable().describe('When the address was confirmed.'),
  pending_email: z.string().nullable().describe('The new address, until it is confirmed.'),
  role,
  created_at: z.iso.datetime(),
  deletes_at: z.iso
    .datetime()
    .nullable()
    .describe('When the account is deleted unless its address is confirmed; null if it is not.'),
})
export type Account = z.output<typeof account>

/** The account, for its owner. */
export const ownAccount = account.extend({
  usage: z
    .strictObject({
      documents: z.int().nonnegative().describe('Documents that are not deleted.'),
      max_documents: z.int().nullable().describe('How many there may be; null for any number.'),
      bytes: z
        .int()
        .nonnegative()
        .describe('Of everything that is stored, with deleted documents and the conflict journal.'),
      max_bytes: z.int().nullable().describe('How many there may be; null for any number.'),
    })
    .describe('What is stored. What exceeds it is refused with `quota_exceeded`.'),
})
export type OwnAccount = z.output<typeof ownAccount>

/** An existing password, which is compared and need not follow the rules for new ones. */
const knownPassword = z
  .string()
  .min(1)
  .max(MAX_UNREAD, { error: 'Too long.', abort: true })
  .overwrite((value) => value.normalize('NFKC'))

export const credentials = z.strictObject({
  username: z.string().min(1).max(254).describe('The username or the email address.'),
  password: knownPassword,
})

const token = z.string().min(1).max(4_096)

export const tokenPair = z.strictObject({
  access: token.describe('For the header `Authorization: Bearer …`. Expires after 15 minutes.'),
  refresh: token.describe('Can be exchanged once for new tokens. Expires after 30 days.'),
  device: token
    .optional()
    .describe(
      'Of a sign-in: the mark of this device. Send it in `Tasktide-Device` at the next one, so that others who guess the password do not delay it.',
    ),
  username: z.string().optional().describe('Of a sign-in: whose tokens these are.'),
})
export type TokenPair = z.output<typeof tokenPair>

export const refreshRequest = z.strictObject({ refresh: token })
export const verifyRequest = z.strictObject({ token })

const linkToken = z.string().min(1).max(200).describe('The token from the mailed link.')

export const confirmEmailRequest = z.strictObject({ token: linkToken })

/** What the link of a confirmation mail would confirm. */
export const confirmation = z.strictObject({
  username: z.string(),
  email: z.string(),
  is_change: z.boolean().describe('Whether the address would replace another one.'),
})
export type Confirmation = z.output<typeof confirmation>

/** In addition to the password, from accounts that have a second factor. */
const factor = factorProof.optional()

export const changeEmailRequest = z.strictObject({ email, password: knownPassword, factor })
export const changePasswordRequest = z.strictObject({
  current_password: knownPassword,
  new_password: password,
  factor,
})
export const forgotPasswordRequest = z.strictObject({ email })
export const resetPasswordRequest = z.strictObject({ token: linkToken, password })
/** What the owner must prove to be: a stolen token alone neither deletes an account nor changes its factors. */
export const ownerRequest = z.strictObject({ password: knownPassword, factor })

export const signedInDevice = z.strictObject({
  id: z.uuid(),
  user_agent: z.string().describe('The User-Agent header of the sign-in.'),
  device: z.string().describe('The user agent in words: `Firefox on Linux`.'),
  created_at: z.iso.datetime(),
  last_seen_at: z.iso.datetime().describe('Accurate to about a minute.'),
  current: z.boolean().describe('Whether it is the session of this request.'),
})
export type SignedInDevice = z.output<typeof signedInDevice>

export const signedInDevices = z.strictObject({ results: z.array(signedInDevice) })
