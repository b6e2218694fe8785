/** What a link in a mail asks for. */
export type MailLink =
  | { kind: 'confirm_email' | 'reset_password' | 'unsubscribe'; token: string }
  | { kind: 'forgot_password' }

/** Reads the link in the address, if there is one, and takes it out: nobody is to find its token there. */
export function takeMailLink(): MailLink | null {
  const link = readMailLink(location.hash.slice(1))
  if (link) history.replaceState(null, '', location.pathname)
  return link
}

/** Takes the invitation out of the address, if there is one. */
export function takeInvite(): string | undefined {
  const [kind, token] = location.hash.slice(1).split('=')
  if (kind !== 'invite') return undefined
  history.replaceState(null, '', location.pathname)
  return token
}

function readMailLink(hash: string): MailLink | null {
  const [kind, token = ''] = hash.split('=')
  if (kind === 'forgot_password') return { kind }
  if (kind === 'confirm_email' || kind === 'reset_password' || kind === 'unsubscribe')
    return { kind, token }
  return null
}
