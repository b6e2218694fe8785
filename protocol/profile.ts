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
    display_name: text('The displayed name.', { max: 150 }),
    bio: text('A short biography.', { max: 2_000 }),
    timezone: timezone('The IANA timezone of all dates and times.'),
    locale: locale('The language of messages, as a BCP 47 tag.'),
    email_notifications: flag('Whether to send reminders and digests by mail.'),
    remind_minutes_before: nullable(
      wholeNumber(
        'Minutes between a reminder and the due time, for tasks without `remind_at`; null means no reminder.',
        { min: 0, max: FOUR_WEEKS },
      ),
    ),
    remind_all_day_at: nullable(
      time(
        'The time of reminders on the due date, for tasks without due time and `remind_at`; null means no reminder.',
      ),
    ),
    digest_at: nullable(
      time('The time of the daily mail with due and overdue tasks; null means no mail.'),
    ),
  },
  initial: {
    display_name: '',
    bio: '',
    timezone: 'UTC',
    locale: 'en',
    email_notifications: true,
    // No unsolicited mail.
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
  const max = 64
  const remedy = 'Use an IANA timezone such as Europe/Lisbon or UTC.'
  const schema = z
    .string()
    .max(max, { error: remedy, abort: true })
    // Some engines accept offsets such as +02:00, which are not timezones: they have no summer time.
    .regex(/^[A-Za-z]/, remedy)
    .refine((value) => isKnown(() => new Intl.DateTimeFormat('en', { timeZone: value })), remedy)
  return { kind: 'text', schema, nullable: false, description, max } satisfies Field
}

function locale(description: string) {
  const max = 35
  const remedy = 'Use a BCP 47 language tag such as en or pt-BR.'
  const schema = z
    .string()
    .max(max, { error: remedy, abort: true })
    .refine((value) => isKnown(() => new Intl.Locale(value)), remedy)
  return { kind: 'text', schema, nullable: false, description, max } satisfies Field
}

function isKnown(construct: () => unknown): boolean {
  try {
    construct()
    return true
  } catch {
    return false
  }
}
