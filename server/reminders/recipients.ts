/**
 * SQL: whether a user (`users u`, `profiles p`) gets reminders and digests: with a confirmed address and
 * email notifications turned on.
 */
export const IS_REACHED =
  '(u.is_active and u.email_verified_at is not null and p.email_notifications)'
