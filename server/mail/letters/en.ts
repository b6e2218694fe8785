import type { Letters } from './letter.ts'
import { listOf } from './list.ts'

const NOT_YOU =
  'If this was not you, somebody may know your password: choose a new one, and all devices are signed out.'

export const en: Letters = {
  confirm_email: ({ url, hours }) => ({
    subject: 'Confirm your email address',
    paragraphs: ['Please confirm that this address is yours, so that reminders can reach you.'],
    action: { label: 'Confirm the address', url },
    closing: [
      `The link works once, within ${hours} hours.`,
      'If you have no Tasktide account, somebody mistyped theirs: there is nothing to do.',
    ],
  }),
  email_changing: ({ new_email }) => ({
    subject: 'Your email address is about to change',
    paragraphs: [
      `Somebody signed in to your account asked to change its address to ${new_email}. It changes once that address is confirmed.`,
    ],
    closing: [NOT_YOU],
  }),
  email_changed: ({ new_email }) => ({
    subject: 'Your email address has changed',
    paragraphs: [`Your account now has the address ${new_email}. This is the last message here.`],
    closing: [NOT_YOU],
  }),
  reset_password: ({ url, minutes }) => ({
    subject: 'Choose a new password',
    paragraphs: ['Somebody, probably you, asked for a new password for your account.'],
    action: { label: 'Choose a new password', url },
    closing: [
      `The link works once, within ${minutes} minutes.`,
      'If it was not you, there is nothing to do: your password stays as it is.',
    ],
  }),
  password_changed: ({ at, reset_url }, format) => ({
    subject: 'Your password has changed',
    paragraphs: [
      'The password of your account was changed, and other devices were signed out.',
      format.moment(at),
    ],
    action: { label: 'This was not me', url: reset_url },
    closing: ['If it was you, there is nothing to do.'],
  }),
  account_deleted: () => ({
    subject: 'Your account has been deleted',
    paragraphs: [
      'As you asked, your account is closed. Its tasks, categories and profile are being erased.',
    ],
    closing: ['This is the last message from us. Farewell, and thank you.'],
  }),
  account_deactivated: () => ({
    subject: 'Your account has been deactivated',
    paragraphs: [
      'An administrator has deactivated your account. Nothing in it is lost, but nobody can sign in.',
    ],
    closing: ['Ask your administrator if this is a mistake.'],
  }),
  reminder: ({ title, description, due, category, url }, format) => ({
    subject: `Reminder: ${title}`,
    paragraphs: [
      title,
      ...(due ? [`Due ${format.due(due)}`] : []),
      ...(category ? [`In ${category}`] : []),
      ...(description ? [description] : []),
    ],
    action: { label: 'Open Tasktide', url },
    closing: ['You get this because you asked to be reminded. Settings has the switch.'],
  }),
  digest: ({ day, overdue, today, more, url }, format) => ({
    subject: `Your day: ${format.day(day)}`,
    paragraphs: today.length === 0 ? ['Nothing is due today.'] : [],
    lists: [
      ...listOf('Today', today, ({ due }) => due.time ?? ''),
      ...listOf('Overdue', overdue, ({ due }) => format.due(due)),
    ],
    action: { label: more > 0 ? `Open Tasktide: ${more} more` : 'Open Tasktide', url },
    closing: ['You get this each day because you asked for it. Settings has the switch.'],
  }),
}
