import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { Problem, resources } from '../../protocol/index.ts'
import type { Secrets } from '../accounts/secrets.ts'
import { edit } from '../sync/edit.ts'
import type { Store } from '../sync/store.ts'

/** The path of the links in reminders and digests. */
export const UNSUBSCRIBE_PATH = '/api/unsubscribe/'

/** The mails that a link in them ends, and the fields of the profile that turn them off. */
const ENDED = {
  reminder: { email_notifications: false },
  digest: { digest_at: null },
} as const

export type Unsubscribable = keyof typeof ENDED

/**
 * Tokens that end reminders or digests, for links in these mails. They do not expire, because mail is
 * read years later, and they can do nothing else.
 */
export function createUnsubscribeTokens(secrets: Secrets) {
  const keys = secrets.map((secret) =>
    Buffer.from(hkdfSync('sha256', secret, '', 'tasktide unsubscribe', 32)),
  )
  const signed = (key: Buffer, claim: string) =>
    createHmac('sha256', key).update(claim).digest('base64url')

  return {
    tokenFor(user: string, letter: Unsubscribable): string {
      const claim = `${letter}.${user}`
      return `${claim}.${signed(keys[0]!, claim)}`
    },

    /** @throws Problem `link_not_valid` */
    read(token: string): { user: string; letter: Unsubscribable } {
      const [, claim = '', letter = '', user = '', signature = ''] =
        /^(([a-z]+)\.([0-9a-f-]{36}))\.([\w-]{43})$/.exec(token) ?? []
      const given = Buffer.from(signature)
      const isOurs =
        signature !== '' &&
        keys.some((key) => timingSafeEqual(Buffer.from(signed(key, claim)), given))
      if (!isOurs)
        throw new Problem(
          'link_not_valid',
          'The link is incomplete; open it from the mail again, or turn off the mails in the settings of your account.',
        )
      return { user, letter: letter as Unsubscribable }
    },
  }
}

export type UnsubscribeTokens = ReturnType<typeof createUnsubscribeTokens>

/** Ends the mails that a token is for. Doing it again changes nothing. */
export function unsubscribing(store: Store, tokens: UnsubscribeTokens, now: () => Date) {
  /** @throws Problem `link_not_valid` */
  return async (token: string): Promise<void> => {
    const { user, letter } = tokens.read(token)
    await edit(store, user, resources.profile, {
      action: 'patch',
      id: user,
      fields: ENDED[letter],
      now: now().toISOString(),
    })
  }
}
