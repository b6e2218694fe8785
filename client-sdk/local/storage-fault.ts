import { ClientError } from '../runtime/client-error.ts'

/** How browsers, SQLite and RxDB report a full storage. */
const FULL = /quota|database or disk is full|SQLITE_FULL|no space left|ENOSPC/i

/** A storage error with a message for the user: `storage_full` or `storage_failed`. */
export function storageFault(cause: unknown): ClientError {
  if (cause instanceof ClientError && cause.code !== 'not_stored') return cause
  if (isFull(cause))
    return new ClientError(
      'storage_full',
      'The storage of this device is full. Free some space; sync then continues by itself.',
      { cause },
    )
  return new ClientError(
    'storage_failed',
    'This device cannot store changes at the moment. It retries by itself.',
    { cause },
  )
}

function isFull(cause: unknown): boolean {
  for (let error = cause, depth = 0; error && depth < 5; depth++) {
    const { name, code, message, inner, cause: next } = error as Record<string, unknown>
    if (FULL.test(`${name} ${code} ${message}`)) return true
    error = inner ?? next
  }
  return false
}
