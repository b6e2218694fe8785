import { createLinks, type LinkPurpose } from '../../server/accounts/links.ts'
import { type Person, SECRET, type TestServer } from './server.ts'

/** Operations with a mailed token, and the purpose of the mail. */
export const LINKED: Readonly<Record<string, LinkPurpose>> = {
  confirm_email: 'confirm_email',
  show_confirmation: 'confirm_email',
  disown_email: 'confirm_email',
  reset_password: 'reset_password',
}

/** Creates the token of such a mail without sending it. */
export async function tokenByMail(
  { testDatabase: { db }, clock }: Pick<TestServer, 'testDatabase' | 'clock'>,
  { id: user, username }: Pick<Person, 'id' | 'username'>,
  purpose: LinkPurpose,
): Promise<string> {
  const links = createLinks([SECRET], clock.now)
  const link = await links.create(db, { user, purpose, email: `${username}@example.com` })
  return (await links.tokenOf(db, user, link))!
}
