import type { Role } from '../../protocol/index.ts'

/**
 * The permissions of each role beyond the user's own account. Everything else is denied. No permission
 * covers documents.
 */
const PERMISSIONS = {
  user: [],
  support: ['accounts.read', 'metrics.read'],
  admin: [
    'accounts.read',
    'accounts.deactivate',
    'accounts.change_role',
    'accounts.end_sessions',
    'accounts.resend_confirmation',
    'accounts.invite',
    'audit.read',
    'metrics.read',
  ],
} as const satisfies Record<Role, readonly string[]>

export type Permission = (typeof PERMISSIONS)[Role][number]

export function may(role: Role, permission: Permission): boolean {
  // A later release may have introduced roles that are unknown here.
  const permissions: readonly Permission[] = Object.hasOwn(PERMISSIONS, role)
    ? PERMISSIONS[role]
    : []
  return permissions.includes(permission)
}

/** The roles with this permission. */
export function rolesWith(permission: Permission): Role[] {
  return (Object.keys(PERMISSIONS) as Role[]).filter((role) => may(role, permission))
}
