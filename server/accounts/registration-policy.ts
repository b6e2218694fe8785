import { invalid, Problem } from '../../protocol/index.ts'
import type { Invite, Invites } from './invites.ts'

/** Who may register. */
export interface RegistrationRules {
  mode: 'open' | 'invite' | 'closed'
  /** The mail domains of those who register without an invitation; empty for all. */
  domains: readonly string[]
}

export const OPEN: RegistrationRules = { mode: 'open', domains: [] }

/**
 * Whether somebody may register.
 *
 * @returns the invitation, if there is one
 * @throws Problem `invalid`, with the field unless registration is closed
 */
export async function admit(
  { mode, domains }: RegistrationRules,
  invites: Pick<Invites, 'check'>,
  { email, invite }: { email: string; invite?: string | undefined },
): Promise<Invite | undefined> {
  if (mode === 'closed')
    throw new Problem(
      'invalid',
      'Nobody can register on this server; ask its operator for an account.',
    )
  if (invite !== undefined) return invites.check(invite, email)
  if (mode === 'invite')
    throw invalid('body', {
      invite: ['Only invited people can register on this server; ask an admin for an invitation.'],
    })
  if (!isAllowed(email, domains))
    throw invalid('body', { email: [`Use an address of ${domains.join(' or ')}.`] })
  return undefined
}

/** A domain allows its subdomains only where it begins with a dot. */
function isAllowed(email: string, domains: readonly string[]): boolean {
  const domain = email.toLowerCase().slice(email.lastIndexOf('@') + 1)
  return (
    domains.length === 0 ||
    domains.some((one) => domain === one || (one.startsWith('.') && domain.endsWith(one)))
  )
}
