import * as z from 'zod'
import { type Field, flag, nullable, text, time, wholeNumber } from './field.ts'
import { type DocumentOf, defineResource } from './resource.ts'

const FOUR_WEEKS = 28 * 24 * 60

export const profile = defineResource({
  name: 'profile',
  singular: 'profile',
  table: 'profiles',
  version: 0,
  revision: 1,
  fields: {
    display_name: text('The name that others see.', { max: 150 }),
    bio: text('A few words about oneself.', { max: 2_000 }),
    timezone: timezone('The IANA timezone that days and times are meant in.'),
    locale: locale('The language of messages, as a BCP 47 tag.'),
    email_notifications: flag('Whether emails are welcome.'),
    remind_minutes_before: nullable(
      wholeNumber(
        'How many minutes before its due time to remind of a task that has no `remind_at`; null is not at all.',
        { min: 0, max: FOUR_WEEKS },
      ),
    ),
    remind_all_day_at: nullable(
      time(
        'When to remind, on its due day, of a task with neither due time nor `remind_at`; null is not at all.',
      ),
    ),
    digest_at: nullable(
      time('When to send, each day, an email of what is due and overdue; null is never.'),
    ),
  },
  initial: {
    display_name: '',
    bio: '',
    timezone: 'UTC',
    locale: 'en',
    email_notifications: true,
    // Nobody gets mail that they have not asked for.
    remind_minutes_before: null,
    remind_all_day_at: null,
    digest_at: null,
  },
  filterable: [],
  sortable: [],
  searchable: [],
  ordering: '-created_at',
  singleton: true,
  example: {
    display_name: 'Ann Lee',
    timezone: 'Europe/Lisbon',
    remind_minutes_before: 30,
    remind_all_day_at: '08:00',
    digest_at: '07:30',
  },
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
