import type { Role } from '../../protocol/index.ts'

/**
 * What each role may do beyond using an account of its own. The whole table: what does not stand
 * here is allowed to nobody. Nothing in it reaches what people have written.
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
    'audit.read',
    'metrics.read',
  ],
} as const satisfies Record<Role, readonly string[]>

export type Permission = (typeof PERMISSIONS)[Role][number]

export function may(role: Role, permission: Permission): boolean {
  // A later release may have given somebody a role that is not known here.
  const permissions: readonly Permission[] = Object.hasOwn(PERMISSIONS, role)
    ? PERMISSIONS[role]
    : []
  return permissions.includes(permission)
}

/** Those who may. */
export function rolesWith(permission: Permission): Role[] {
  return (Object.keys(PERMISSIONS) as Role[]).filter((role) => may(role, permission))
}
