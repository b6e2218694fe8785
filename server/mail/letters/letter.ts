/** What each kind of letter says, as data: what its translations are made of. */
export interface LetterContents {
  /** To the address of a new account, or the new address of an old one. */
  confirm_email: { url: string; hours: number }
  /** To the address that an account is about to leave. */
  email_changing: { new_email: string }
  /** To the address that an account has left. */
  email_changed: { new_email: string }
  reset_password: { url: string; minutes: number }
  password_changed: { at: string; reset_url: string }
  account_deleted: Record<never, never>
  account_deactivated: Record<never, never>
  reminder: { title: string; description: string; due?: Due; category?: string; url: string }
  digest: { day: string; overdue: DigestItem[]; today: DigestItem[]; more: number; url: string }
}

export type LetterName = keyof LetterContents

/** When a task is due: a day, and a time of it unless that is all day; in the owner's timezone. */
export interface Due {
  date: string
  time: string | null
}

export interface DigestItem {
  title: string
  due: Due
}

/** A letter in words. Its text and HTML forms are made from this: see `render.ts`. */
export interface Letter {
  subject: string
  /** The opening, each a paragraph of plain text. */
  paragraphs: string[]
  /** What it lists, under headings. */
  lists?: { heading: string; items: { title: string; note: string }[] }[]
  /** The one thing to press. */
  action?: { label: string; url: string }
  /** What may be said smaller: why this came, and what to do if it should not have. */
  closing: string[]
}

/** One language. */
export type Letters = {
  readonly [K in LetterName]: (contents: LetterContents[K], format: Format) => Letter
}

/** Days and times in the words of the reader's language. */
export interface Format {
  /** Tuesday, 1 December 2026 */
  day(date: string): string
  /** Tuesday, 1 December 2026 at 08:30, or the day alone when it is all day */
  due(due: Due): string
  /** A moment, in the reader's timezone, which it names. */
  moment(instant: string): string
}
