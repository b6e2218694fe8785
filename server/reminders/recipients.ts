/**
 * SQL: who gets mail that they asked for, of `users u` and their `profiles p`: at an address that is
 * known to be theirs, and while emails are welcome.
 */
export const IS_REACHED = `(
  u.is_active and u.deleted_at is null and u.email_verified_at is not null and p.email_notifications)`

/** How many people or tasks are dealt with in one transaction. */
export const BATCH = 500
