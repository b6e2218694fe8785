import * as z from 'zod'
import { type Field, flag, text } from './field.ts'
import { type DocumentOf, defineResource } from './resource.ts'

export const profile = defineResource({
  name: 'profile',
  singular: 'profile',
  table: 'profiles',
  version: 0,
  fields: {
    display_name: text('The name that others see.', { max: 150 }),
    bio: text('A few words about oneself.', { max: 2_000 }),
    timezone: timezone('The IANA timezone that days and times are meant in.'),
    locale: locale('The language of messages, as a BCP 47 tag.'),
    email_notifications: flag('Whether emails are welcome.'),
  },
  initial: {
    display_name: '',
    bio: '',
    timezone: 'UTC',
    locale: 'en',
    email_notifications: true,
  },
  filterable: [],
  sortable: [],
  searchable: [],
  ordering: '-created_at',
  singleton: true,
  example: { display_name: 'Ann Lee', timezone: 'Europe/Lisbon' },
})

export type Profile = DocumentOf<typeof profile>

function timezone(description: string) {
  const remedy = 'Write an IANA timezone, such as Europe/Lisbon or UTC.'
  const schema = z
    .string()
    .max(64, { error: remedy, abort: true })
    // Offsets such as +02:00 are no timezones (they know no summer time), though engines take them.
    .regex(/^[A-Za-z]/, remedy)
    .refine((value) => isKnown(() => new Intl.DateTimeFormat('en', { timeZone: value })), remedy)
  return { kind: 'text', schema, nullable: false, description } satisfies Field
}

function locale(description: string) {
  const remedy = 'Write a BCP 47 language tag, such as en or pt-BR.'
  const schema = z
    .string()
    .max(35, { error: remedy, abort: true })
    .refine((value) => isKnown(() => new Intl.Locale(value)), remedy)
  return { kind: 'text', schema, nullable: false, description } satisfies Field
}

function isKnown(construct: () => unknown): boolean {
  try {
    construct()
    return true
  } catch {
    return false
  }
}
