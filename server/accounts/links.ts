import { createHash, createHmac, hkdfSync } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import type { Secrets } from './secrets.ts'

/** How long a link of each purpose works, in minutes. */
export const LINK_MINUTES = { confirm_email: 72 * 60, reset_password: 60 } as const

export type LinkPurpose = keyof typeof LINK_MINUTES

export interface Link {
  id: string
  user_id: string
  purpose: LinkPurpose
  /** The address that it was sent to. */
  email: string
}

/**
 * Links that prove an address: each for one purpose, once, for a time. Their tokens are made from
 * their ids with a key of this server's, so that whoever sends the mail can make them and the
 * database holds only hashes.
 */
export function createLinks(secrets: Secrets, now: () => Date) {
  const keys = secrets.map(deriveKey)

  return {
    /** Makes a link that is still to be sent. @returns its id */
    async create(
      trx: Database,
      { user, purpose, email }: { user: string; purpose: LinkPurpose; email: string },
    ): Promise<string> {
      const id = uuidv7()
      const created_at = now()
      await trx('account_links').insert({
        id,
        user_id: user,
        purpose,
        email,
        token_hash: hashOf(tokenFor(keys[0]!, id)),
        created_at,
        expires_at: new Date(created_at.getTime() + LINK_MINUTES[purpose] * 60_000),
      })
      return id
    },

    /**
     * What goes into the mail; undefined when the link would not be taken any more.
     *
     * @throws when none of the keys here made it: another process has the one, and may send the mail
     */
    async tokenOf(trx: Database, id: string): Promise<string | undefined> {
      const link = await good(trx).where({ id }).first<{ token_hash: Buffer } | undefined>()
      if (!link) return undefined
      // The key may have been changed since.
      const token = keys.map((key) => tokenFor(key, id)).find(matches(link.token_hash))
      if (!token)
        throw new Error('A link was made with another SECRET_KEY: give all processes the same.')
      return token
    },

    /** The link of a token, still to be used. @throws Problem `link_not_valid` */
    async find(trx: Database, purpose: LinkPurpose, token: string): Promise<Link> {
      const link = await good(trx)
        .where({ purpose, token_hash: hashOf(token) })
        .first<Link | undefined>('id', 'user_id', 'purpose', 'email')
      if (!link) throw new Problem('link_not_valid')
      return link
    },

    /**
     * Uses a link up, and with it the others of its purpose to the same address. Take it with the
     * user's row locked: of two who use it at once the second then finds it used.
     *
     * @throws Problem `link_not_valid`
     */
    async take(trx: Database, { id, user_id: user, purpose, email }: Link): Promise<void> {
      const used_at = now()
      if ((await good(trx).where({ id }).update({ used_at })) === 0)
        throw new Problem('link_not_valid')
      await good(trx).where({ purpose, user_id: user, email }).update({ used_at })
    },

    /** The address that takes the place of this one once it is confirmed. */
    async pendingEmail(trx: Database, user: string, email: string): Promise<string | null> {
      const link = await good(trx)
        .where({ user_id: user, purpose: 'confirm_email' })
        .whereNot({ email })
        .orderBy('id', 'desc')
        .first<Link | undefined>('email')
      return link?.email ?? null
    },

    /** How many addresses links that confirm one have gone to since then, for this person. */
    async addressesOf(trx: Database, user: string, since: Date): Promise<number> {
      const [sent] = await trx('account_links')
        .where({ user_id: user, purpose: 'confirm_email' })
        .andWhere('created_at', '>', since)
        .countDistinct<{ count: string }[]>({ count: 'email' })
      return Number(sent!.count)
    },

    /** Ends the links of a person that were sent and not used, save those to one address. */
    async end(
      trx: Database,
      user: string,
      purpose: LinkPurpose,
      { except }: { except?: string } = {},
    ): Promise<void> {
      await good(trx)
        .where({ purpose, user_id: user })
        .modify((query) => except && query.whereNot({ email: except }))
        .update({ used_at: now() })
    },
  }

  function good(trx: Database) {
    return trx('account_links').where({ used_at: null }).andWhere('expires_at', '>', now())
  }
}

export type Links = ReturnType<typeof createLinks>

const deriveKey = (secret: string) =>
  Buffer.from(hkdfSync('sha256', secret, '', 'tasktide links', 32))

const tokenFor = (key: Buffer, id: string) =>
  createHmac('sha256', key).update(id).digest('base64url')

const hashOf = (token: string) => createHash('sha256').update(token).digest()

const matches = (hash: Buffer) => (token: string) => hashOf(token).equals(hash)
