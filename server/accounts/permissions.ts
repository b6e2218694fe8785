import { Problem, type Role, type Scope } from '../../protocol/index.ts'

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

/**
 * @param given the scopes of a personal token
 * @param needed undefined for what no personal token may do
 * @throws Problem `forbidden`
 */
export function requireScopes(given: readonly Scope[], needed: readonly Scope[] | undefined): void {
  if (!needed)
    throw new Problem(
      'forbidden',
      'No personal token may do this; sign in, and use an access token.',
    )
  const missing = needed.filter((scope) => !given.includes(scope))
  if (missing.length > 0)
    throw new Problem(
      'forbidden',
      `This personal token lacks ${missing.join(' and ')}; create one with it.`,
    )
}
