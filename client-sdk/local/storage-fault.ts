import { ClientError } from '../runtime/client-error.ts'

/** What the storages of browsers, of SQLite and of RxDB call a store that is full. */
const FULL = /quota|database or disk is full|SQLITE_FULL|no space left|ENOSPC/i

/** A fault of the storage of this device, in words for people: `storage_full` or `storage_failed`. */
export function storageFault(cause: unknown): ClientError {
  if (cause instanceof ClientError && cause.code !== 'not_stored') return cause
  if (isFull(cause))
    return new ClientError(
      'storage_full',
      'This device has no room left. Free some space; syncing then goes on by itself.',
      { cause },
    )
  return new ClientError(
    'storage_failed',
    'This device cannot store changes at the moment. It tries again by itself.',
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
