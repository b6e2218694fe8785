import type { TemplateDataReaders } from '../mail/delivery.ts'
import type { Mail } from '../mail/outbox.ts'
import type { FactorChange } from '../mail/templates/template.ts'
import { LINK_MINUTES, type LinkPurpose, type Links } from './links.ts'
import { type ConfirmationRules, deletionOf } from './unconfirmed.ts'

/** The confirmation mail of an address. */
export function confirmationOf(user: string, email: string, link: string): Mail {
  return {
    cause: `confirm_email ${link}`,
    user,
    to: email,
    letter: 'confirm_email',
    data: { link },
  }
}

type AccountTemplate =
  | LinkPurpose
  | 'email_changing'
  | 'email_changed'
  | 'password_changed'
  | 'token_reused'
  | 'factor_changed'
  | 'account_deleted'
  | 'account_deactivated'
  | 'unconfirmed_account'
  | 'sign_in_after_failures'

/**
 * The template data of mails about accounts.
 *
 * @param url the URL of the web app
 */
export function accountMailData(
  links: Links,
  url: string,
  confirmation: ConfirmationRules | undefined,
  now: () => Date,
): Pick<TemplateDataReaders, AccountTemplate> {
  return {
    async confirm_email(trx, { user_id, data }) {
      const token = await links.tokenOf(trx, user_id, data.link!)
      const hours = LINK_MINUTES.confirm_email / 60
      // Browsers do not send the fragment of a URL to servers.
      return token ? { url: `${url}/#confirm_email=${token}`, hours } : undefined
    },
    async reset_password(trx, { user_id, data }) {
      const token = await links.tokenOf(trx, user_id, data.link!)
      const minutes = LINK_MINUTES.reset_password
      return token ? { url: `${url}/#reset_password=${token}`, minutes } : undefined
    },
    email_changing: async (_, { data }) => ({ new_email: data.new_email! }),
    email_changed: async (_, { data }) => ({ new_email: data.new_email! }),
    password_changed: async (_, { created_at }) => ({
      reset_url: `${url}/#forgot_password`,
      at: created_at.toISOString(),
    }),
    token_reused: async (_, { created_at }) => ({
      reset_url: `${url}/#forgot_password`,
      at: created_at.toISOString(),
    }),
    factor_changed: async (_, { data, created_at }) => ({
      change: data.change as FactorChange,
      ...(data.left !== undefined && { left: Number(data.left) }),
      reset_url: `${url}/#forgot_password`,
      at: created_at.toISOString(),
    }),
    account_deleted: async () => ({}),
    account_deactivated: async () => ({}),
    async unconfirmed_account(trx, { user_id, data }) {
      const until = await deletionOf(trx, user_id, confirmation, now())
      const token = await links.tokenOf(trx, user_id, data.link!)
      return token && until
        ? { url: `${url}/#confirm_email=${token}`, until: until.toISOString() }
        : undefined
    },
    sign_in_after_failures: async (_, { created_at, data }) => ({
      failures: Number(data.failures),
      device: data.device!,
      at: created_at.toISOString(),
      reset_url: `${url}/#forgot_password`,
    }),
  }
}
