/**
 * SQL: whether a user (`users u`, `profiles p`) gets reminders and digests: with a confirmed address and
 * email notifications turned on.
 */
export const IS_REACHED =
  '(u.is_active and u.email_verified_at is not null and p.email_notifications)'

const NEW_MS = 24 * 60 * 60 * 1000

/** Accounts that were created after this are new: somebody may have made them to send mail to strangers. */
export const newSince = (now: Date) => new Date(now.getTime() - NEW_MS)
