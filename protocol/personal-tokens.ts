import * as z from 'zod'
import { ownerRequest } from './accounts.ts'
import { id } from './field.ts'
import { isStorable } from './storable.ts'
import { isVisible } from './visible-text.ts'

/** Schemas of personal tokens: credentials of scripts, which do less than a signed-in device. */

const MAX_NAME = 100

/**
 * What a token may do. `tasks:read` and `tasks:write` cover all documents except the profile. Neither contains
 * the other.
 */
export const scope = z.enum(['tasks:read', 'tasks:write', 'profile', 'account'])
export type Scope = z.output<typeof scope>

const moment = z.iso.datetime()

/** With the password, because a stolen access token must not become one that lasts. */
export const newPersonalToken = ownerRequest.extend({
  name: z
    .string()
    .max(MAX_NAME, { error: `Use at most ${MAX_NAME} characters.`, abort: true })
    .refine(isStorable, 'Remove NUL characters and invalid characters (unpaired surrogates).')
    .refine(isVisible, 'Enter some text; this is blank.')
    .meta({ minLength: 1 })
    .describe('What the token is for.'),
  scopes: z
    .array(scope)
    .min(1, 'Choose at least one scope.')
    .max(scope.options.length)
    .refine((scopes) => new Set(scopes).size === scopes.length, 'Name each scope once.')
    .describe('The operations that it allows.'),
  expires_at: z.iso
    .datetime({ offset: true, error: 'Use ISO 8601 with an offset, such as 2027-11-22T08:30:00Z.' })
    .nullish()
    .describe('When it expires. Default: never.'),
})
export type NewPersonalToken = z.output<typeof newPersonalToken>

export const personalToken = z.strictObject({
  id: id(),
  name: z.string(),
  scopes: z.array(scope),
  created_at: moment,
  last_used_at: moment.nullable().describe('Accurate to about a minute; null if never.'),
  expires_at: moment.nullable().describe('Null: never.'),
})
export type PersonalToken = z.output<typeof personalToken>

export const createdPersonalToken = personalToken.extend({
  token: z
    .string()
    .describe('For the header `Authorization: Bearer …`. It is not stored, and not shown again.'),
})
export type CreatedPersonalToken = z.output<typeof createdPersonalToken>

export const personalTokens = z.strictObject({ results: z.array(personalToken) })
