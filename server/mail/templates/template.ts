/** The template data of each mail. */
export interface TemplateData {
  /** To the address of a new account, or the new address of an old one. */
  confirm_email: { url: string; hours: number }
  /** To the current address, when a change is requested. */
  email_changing: { new_email: string }
  /** To the former address. */
  email_changed: { new_email: string }
  reset_password: { url: string; minutes: number }
  password_changed: { at: string; reset_url: string }
  /** A device was signed out, because somebody has used a copy of its token. */
  token_reused: { at: string; reset_url: string }
  factor_changed: { change: FactorChange; left?: number; at: string; reset_url: string }
  account_deleted: Record<never, never>
  account_deactivated: Record<never, never>
  /** Before an account is deleted whose address was never confirmed. */
  unconfirmed_account: { url: string; until: string }
  /** Of a sign-in that follows many wrong passwords. */
  sign_in_after_failures: { failures: number; device: string; at: string; reset_url: string }
  /** The subject of a new account has no words of the user: it may be made in order to send them. */
  reminder: {
    title: string
    description: string
    due?: Due
    category?: string
    isNewAccount: boolean
    url: string
    unsubscribe_url: string
  }
  digest: {
    day: string
    overdue: DigestItem[]
    today: DigestItem[]
    more: number
    url: string
    unsubscribe_url: string
  }
}

/** What has happened to the second factors of an account. */
export type FactorChange =
  | 'totp_added'
  | 'totp_removed'
  | 'passkey_added'
  | 'passkey_removed'
  | 'recovery_codes_renewed'
  | 'recovery_code_used'
  | 'factors_removed'
  | 'codes_tried'

export type TemplateName = keyof TemplateData

/** The due date of a task and its time, null for all day; in the user's timezone. */
export interface Due {
  date: string
  time: string | null
}

interface DigestItem {
  title: string
  due: Due
}

/** A filled-in template. `render.ts` converts it to text and HTML. */
export interface MailContent {
  subject: string
  /** Plain text. */
  paragraphs: string[]
  /** Lists with headings. */
  lists?: { heading: string; items: { title: string; note: string }[] }[]
  /** The button. */
  action?: { label: string; url: string }
  /** Small print: why the user gets this mail, and what to do if it is a mistake. */
  closing: string[]
  /** The link in the small print that ends mails of this kind. */
  unsubscribe?: { label: string; url: string }
}

/** The templates of one language. */
export type Templates = {
  readonly [K in TemplateName]: (data: TemplateData[K], format: Format) => MailContent
}

/** Formats dates and times in the reader's language. */
export interface Format {
  /** Tuesday, 1 December 2026 */
  day(date: string): string
  /** Tuesday, 1 December 2026 at 08:30, or the day alone when it is all day */
  due(due: Due): string
  /** Date and time with the name of the reader's timezone. */
  moment(instant: string): string
}
