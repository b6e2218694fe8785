import { listOf } from './list.ts'
import type { FactorChange, Templates } from './template.ts'

const NOT_YOU =
  'If this was not you, somebody may know your password. Choose a new one; this signs out all other devices.'

export const en: Templates = {
  confirm_email: ({ url, hours }) => ({
    subject: 'Confirm your email address',
    paragraphs: ['Please confirm that this is your address, so that we can send you reminders.'],
    action: { label: 'Confirm address', url },
    closing: [
      `The link can be used once, within ${hours} hours.`,
      'If you have no Tasktide account, somebody mistyped their address. You can ignore this mail.',
    ],
  }),
  email_changing: ({ new_email }) => ({
    subject: 'Change of your email address requested',
    paragraphs: [
      `A change of your account's address to ${new_email} was requested. It takes effect when that address is confirmed.`,
    ],
    closing: [NOT_YOU],
  }),
  email_changed: ({ new_email }) => ({
    subject: 'Your email address has changed',
    paragraphs: [
      `Your account now has the address ${new_email}. We will send no more mail to this address.`,
    ],
    closing: [NOT_YOU],
  }),
  reset_password: ({ url, minutes }) => ({
    subject: 'Choose a new password',
    paragraphs: ['A new password was requested for your account.'],
    action: { label: 'Choose a new password', url },
    closing: [
      `The link can be used once, within ${minutes} minutes.`,
      'If you did not request it, you can ignore this mail. Your password does not change.',
    ],
  }),
  password_changed: ({ at, reset_url }, format) => ({
    subject: 'Your password has changed',
    paragraphs: [
      'The password of your account was changed. Other devices were signed out.',
      format.moment(at),
    ],
    action: { label: 'This was not me', url: reset_url },
    closing: ['If this was you, you can ignore this mail.'],
  }),
  token_reused: ({ at, reset_url }, format) => ({
    subject: 'A device was signed out for safety',
    paragraphs: [
      'Somebody used an old copy of the sign-in of one of your devices, so that device was signed out. Sign in there again; what was not saved yet is still on the device.',
      format.moment(at),
    ],
    action: { label: 'Choose a new password', url: reset_url },
    closing: [
      'If you have restored a device from a backup, that is the reason, and you can ignore this mail. Otherwise look at the recent activity in your account, and choose a new password.',
    ],
  }),
  factor_changed: ({ change, left, at, reset_url }, format) => ({
    subject:
      change === 'codes_tried'
        ? 'Somebody tried to sign in to your account'
        : 'Your two-step sign-in: something has changed',
    paragraphs: [factorChanges(left)[change], format.moment(at)],
    action: { label: 'This was not me', url: reset_url },
    closing: ['If this was you, you can ignore this mail.'],
  }),
  account_deleted: () => ({
    subject: 'Your account has been deleted',
    paragraphs: [
      'You have deleted your account. Its tasks, categories and profile are being erased.',
    ],
    closing: ['We will send no more mail. Thank you for using Tasktide.'],
  }),
  account_deactivated: () => ({
    subject: 'Your account has been deactivated',
    paragraphs: [
      'An administrator has deactivated your account. You cannot sign in; your data is kept.',
    ],
    closing: ['If this is a mistake, contact your administrator.'],
  }),
  unconfirmed_account: ({ url, until }, format) => ({
    subject: 'Confirm your address to keep your account',
    paragraphs: [
      'The address of your Tasktide account was never confirmed. Confirm it by this date, otherwise the account is deleted with all its data:',
      format.moment(until),
    ],
    action: { label: 'Confirm address', url },
    closing: [
      'The link can be used once.',
      'If you have no Tasktide account, somebody mistyped their address. You can ignore this mail.',
    ],
  }),
  sign_in_after_failures: ({ failures, device, at, reset_url }, format) => ({
    subject: 'Sign-in after many wrong passwords',
    paragraphs: [
      `Somebody has signed in to your account with ${device}, after ${failures} attempts with a wrong password.`,
      format.moment(at),
    ],
    action: { label: 'This was not me', url: reset_url },
    closing: [
      'If this was you, somebody else may have tried to guess your password; your account is safe.',
    ],
  }),
  reminder: (
    { title, description, due, category, isNewAccount, url, unsubscribe_url },
    format,
  ) => ({
    subject: isNewAccount ? 'Reminder from Tasktide' : `Reminder: ${title}`,
    paragraphs: [
      title,
      ...(due ? [`Due ${format.due(due)}`] : []),
      ...(category ? [`In ${category}`] : []),
      ...(description ? [description] : []),
    ],
    action: { label: 'Open Tasktide', url },
    closing: ['You can turn off reminders in the settings of your account.'],
    unsubscribe: { label: 'Stop reminders', url: unsubscribe_url },
  }),
  digest: ({ day, overdue, today, more, url, unsubscribe_url }, format) => ({
    subject: `Your day: ${format.day(day)}`,
    paragraphs: today.length === 0 ? ['Nothing is due today.'] : [],
    lists: [
      ...listOf('Today', today, ({ due }) => due.time ?? ''),
      ...listOf('Overdue', overdue, ({ due }) => format.due(due)),
    ],
    action: { label: more > 0 ? `Open Tasktide: ${more} more` : 'Open Tasktide', url },
    closing: ['You can turn off the daily digest in the settings of your account.'],
    unsubscribe: { label: 'Stop the daily digest', url: unsubscribe_url },
  }),
}

const factorChanges = (left = 0): Record<FactorChange, string> => ({
  totp_added: 'An authenticator app was added to your account.',
  totp_removed: 'The authenticator app was removed from your account.',
  passkey_added: 'A passkey was added to your account.',
  passkey_removed: 'A passkey was removed from your account.',
  recovery_codes_renewed:
    'Your account has new recovery codes. The former ones are no longer valid.',
  recovery_code_used: `A recovery code of your account was used. You have ${left} left.`,
  factors_removed:
    'All second factors of your account were removed by the operator of the server. Its password alone is enough now.',
  codes_tried:
    'Somebody who knows the password of your account has tried several codes of an authenticator app. All were wrong. Choose a new password, and nobody else knows it any more.',
})
