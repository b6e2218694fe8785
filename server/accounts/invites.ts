import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { invalid } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { may } from './permissions.ts'
import type { Secrets } from './secrets.ts'

const INVITE_DAYS = 7
const DAY_MS = 24 * 60 * 60 * 1000

export interface Invite {
  /** Of the account that it may become. So it can be used once, and the audit log leads to that account. */
  id: string
  /** The admin; undefined for the command line. */
  by?: string | undefined
  /** The only address that may use it; undefined for any. */
  email?: string | undefined
  /** In milliseconds. */
  expires: number
}

/**
 * Invitations to register. They are signed and not stored. One is good for a week, for one account, and while
 * the admin who made it may still invite.
 */
export function createInvites(db: Database, secrets: Secrets, now: () => Date) {
  const keys = secrets.map((secret) => hkdfSync('sha256', secret, '', 'tasktide invites', 32))

  return {
    /** @param email the only address that may use it */
    create({ by, email }: Pick<Invite, 'by' | 'email'>): Invite & { token: string } {
      const invite = { id: uuidv7(), by, email, expires: now().getTime() + INVITE_DAYS * DAY_MS }
      const text = Buffer.from(JSON.stringify(invite)).toString('base64url')
      return { ...invite, token: `${text}.${sign(keys[0]!, text)}` }
    },

    /** @throws Problem `invalid` with the field `invite` */
    async check(token: string, email: string): Promise<Invite> {
      const invite = read(token)
      if (!invite || invite.expires <= now().getTime() || !(await mayInvite(invite.by)))
        throw wrongInvite('The invitation is not valid or has expired; ask for a new one.')
      if (await isUsed(invite.id)) throw invitationUsed()
      if (invite.email && invite.email.toLowerCase() !== email.toLowerCase())
        throw wrongInvite('The invitation is for another address; use that one.')
      return invite
    },
  }

  function read(token: string): Invite | undefined {
    const [text = '', signature = ''] = token.split('.')
    if (!keys.some((key) => isEqual(sign(key, text), signature))) return undefined
    return JSON.parse(Buffer.from(text, 'base64url').toString()) as Invite
  }

  async function mayInvite(by: string | undefined): Promise<boolean> {
    if (by === undefined) return true
    const user = await db('users').where({ id: by, is_active: true }).first('role')
    return user !== undefined && may(user.role, 'accounts.invite')
  }

  /** Also by an account that is deleted by now: devices delete all data of an account with its id. */
  async function isUsed(id: string): Promise<boolean> {
    const user = await db('users').where({ id }).first('id')
    return (user ?? (await db('deleted_accounts').where({ user_id: id }).first())) !== undefined
  }
}

export type Invites = ReturnType<typeof createInvites>

export const invitationUsed = () =>
  wrongInvite('The invitation has been used; sign in, or ask for a new one.')

const wrongInvite = (message: string) => invalid('body', { invite: [message] })

const sign = (key: ArrayBuffer, text: string) =>
  createHmac('sha256', Buffer.from(key)).update(text).digest('base64url')

function isEqual(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}
