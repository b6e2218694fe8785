import { createLinks, type LinkPurpose } from '../../server/accounts/links.ts'
import { type Person, SECRET, type TestServer } from './server.ts'

/** Operations whose token comes by mail, and the purpose of that mail. */
export const LINKED: Readonly<Record<string, LinkPurpose>> = {
  confirm_email: 'confirm_email',
  reset_password: 'reset_password',
}

/** The token that such a mail to the person would carry, without the mail. */
export async function tokenByMail(
  { testDatabase: { db }, clock }: Pick<TestServer, 'testDatabase' | 'clock'>,
  { id: user, username }: Pick<Person, 'id' | 'username'>,
  purpose: LinkPurpose,
): Promise<string> {
  const links = createLinks([SECRET], clock.now)
  const link = await links.create(db, { user, purpose, email: `${username}@example.com` })
  return (await links.tokenOf(db, link))!
}
