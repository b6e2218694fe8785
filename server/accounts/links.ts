import { createHash, createHmac, hkdfSync } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { takeNames, userNamed } from './names.ts'
import type { Secrets } from './secrets.ts'

/** The lifetime of a link by purpose, in minutes. */
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
 * Links that prove an address: single-use, for one purpose, with an expiry. Tokens are derived from the
 * id with the server's key, so the process that sends the mail can derive them, and the database stores
 * only hashes.
 */
export function createLinks(secrets: Secrets, now: () => Date) {
  const keys = secrets.map(deriveKey)

  return {
    /**
     * Creates a link for a mail.
     *
     * @param link.until when it expires; default: by its purpose
     * @returns its id
     */
    async create(
      trx: Database,
      {
        user,
        purpose,
        email,
        until,
      }: { user: string; purpose: LinkPurpose; email: string; until?: Date },
    ): Promise<string> {
      const id = uuidv7()
      const created_at = now()
      const token_hash = hashOf(tokenFor(keys[0]!, id))
      await takeNames(trx, user, nameOf(token_hash))
      await trx('account_links').insert({
        id,
        user_id: user,
        purpose,
        email,
        token_hash,
        created_at,
        expires_at: until ?? new Date(created_at.getTime() + LINK_MINUTES[purpose] * 60_000),
      })
      return id
    },

    /**
     * The token for the mail; undefined if the link is no longer valid.
     *
     * @throws if it was made with an unknown key: another process may have that key and send the mail
     */
    async tokenOf(trx: Database, user: string, id: string): Promise<string | undefined> {
      const link = await good(trx)
        .where({ user_id: user, id })
        .first<{ token_hash: Buffer } | undefined>()
      if (!link) return undefined
      // The key may have been changed since.
      const token = keys.map((key) => tokenFor(key, id)).find(matches(link.token_hash))
      if (!token)
        throw new Error(
          'A link was made with another SECRET_KEY: use the same key in all processes.',
        )
      return token
    },

    /** The unused link of a token. @throws Problem `link_not_valid` */
    async find(trx: Database, purpose: LinkPurpose, token: string): Promise<Link> {
      const token_hash = hashOf(token)
      const user_id = await userNamed(trx, 'link', nameOf(token_hash).name)
      const link =
        user_id &&
        (await good(trx)
          .where({ user_id, purpose, token_hash })
          .first<Link | undefined>('id', 'user_id', 'purpose', 'email'))
      if (!link) throw linkNotValid()
      return link
    },

    /**
     * Marks a link as used, and all others of its purpose to the same address. Lock the user's row
     * first, so that only one of two concurrent requests can use it.
     *
     * @throws Problem `link_not_valid`
     */
    async take(trx: Database, { id, user_id: user, purpose, email }: Link): Promise<void> {
      const used_at = now()
      if ((await good(trx).where({ user_id: user, id }).update({ used_at })) === 0)
        throw linkNotValid()
      await good(trx).where({ purpose, user_id: user, email }).update({ used_at })
    },

    /** The new address, until it is confirmed. */
    async pendingEmail(trx: Database, user: string, email: string | null): Promise<string | null> {
      const link = await good(trx)
        .where({ user_id: user, purpose: 'confirm_email' })
        .whereNot({ email })
        .orderBy([
          { column: 'created_at', order: 'desc' },
          { column: 'id', order: 'desc' },
        ])
        .first<Link | undefined>('email')
      return link?.email ?? null
    },

    /** The number of addresses that confirmation links of this user were sent to since then. */
    async addressesOf(trx: Database, user: string, since: Date): Promise<number> {
      const [sent] = await trx('account_links')
        .where({ user_id: user, purpose: 'confirm_email' })
        .andWhere('created_at', '>', since)
        .countDistinct<{ count: string }[]>({ count: 'email' })
      return Number(sent!.count)
    },

    /** Invalidates the unused links of a user, except those to one address. */
    async end(
      trx: Database,
      user: string,
      purpose: LinkPurpose,
      { except }: { except?: string | null } = {},
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

/** Deletes links, with their names. */
export async function deleteLinks(db: Database, expiredBefore: Date): Promise<void> {
  await db.transaction(async (trx) => {
    const links = await trx('account_links')
      .where('expires_at', '<', expiredBefore)
      .delete()
      .returning<{ token_hash: Buffer }[]>('token_hash')
    await trx('names')
      .where({ kind: 'link' })
      .whereRaw('name = any (?)', [links.map(({ token_hash }) => nameOf(token_hash).name)])
      .delete()
  })
}

export type Links = ReturnType<typeof createLinks>

export const linkNotValid = () =>
  new Problem('link_not_valid', 'The link has been used or has expired; request a new one.')

const deriveKey = (secret: string) =>
  Buffer.from(hkdfSync('sha256', secret, '', 'tasktide links', 32))

const tokenFor = (key: Buffer, id: string) =>
  createHmac('sha256', key).update(id).digest('base64url')

const hashOf = (token: string) => createHash('sha256').update(token).digest()

const nameOf = (hash: Buffer) => ({ kind: 'link', name: hash.toString('hex') }) as const

const matches = (hash: Buffer) => (token: string) => hashOf(token).equals(hash)
