/**
 * SQL: who gets mail that they asked for, of `users u` and their `profiles p`: at an address that is
 * known to be theirs, and while emails are welcome.
 */
export const IS_REACHED =
  '(u.is_active and u.email_verified_at is not null and p.email_notifications)'
