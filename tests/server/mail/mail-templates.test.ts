import { describe, expect, test } from 'vitest'
import { render } from '../../../server/mail/render.ts'
import { fillIn, LANGUAGES } from '../../../server/mail/templates/index.ts'
import type { TemplateData, TemplateName } from '../../../server/mail/templates/template.ts'

const URL = 'https://tasks.example/#confirm_email=a&b'
const EVIL = `<img src=x onerror=alert(1)> & "O'Neill"`

const DATA: { readonly [K in TemplateName]: TemplateData[K] } = {
  confirm_email: { url: URL, hours: 72 },
  email_changing: { new_email: 'ann@example.org' },
  email_changed: { new_email: 'ann@example.org' },
  reset_password: { url: URL, minutes: 30 },
  password_changed: { at: '2026-11-22T08:30:00.000Z', reset_url: URL },
  token_reused: { at: '2026-11-22T08:30:00.000Z', reset_url: URL },
  factor_changed: {
    change: 'recovery_code_used',
    left: 9,
    at: '2026-11-22T08:30:00.000Z',
    reset_url: URL,
  },
  account_deleted: {},
  account_deactivated: {},
  unconfirmed_account: { url: URL, until: '2026-12-06T08:30:00.000Z' },
  sign_in_after_failures: {
    failures: 12,
    device: EVIL,
    at: '2026-11-22T08:30:00.000Z',
    reset_url: URL,
  },
  reminder: {
    title: EVIL,
    description: 'Two\nlines',
    due: { date: '2026-12-01', time: '08:30' },
    category: EVIL,
    isNewAccount: false,
    url: URL,
    unsubscribe_url: URL,
  },
  digest: {
    day: '2026-12-01',
    overdue: [{ title: EVIL, due: { date: '2026-11-30', time: null } }],
    today: [{ title: 'Ferry', due: { date: '2026-12-01', time: '08:30' } }],
    more: 2,
    url: URL,
    unsubscribe_url: URL,
  },
}

const names = Object.keys(DATA) as TemplateName[]
const languages = Object.keys(LANGUAGES)
const all = languages.flatMap((language) => names.map((name) => [language, name] as const))

describe.each(all)('in %s, the content %s', (locale, name) => {
  const content = fillIn(name, DATA[name], { locale, timezone: 'Europe/Lisbon' })
  const { subject, text, html } = render(content)

  test('has all values in text and HTML, and no missing ones', () => {
    expect(content.language).toBe(locale)
    expect(subject).not.toBe('')
    for (const form of [subject, text, html])
      expect(form).not.toMatch(/undefined|null|NaN|\[object/)
    const said = [...content.paragraphs, ...content.closing]
    for (const paragraph of said) expect(text).toContain(paragraph)
    if (content.action) expect(text).toContain(content.action.url)
    if (content.action)
      expect(html).toContain(`href="${content.action.url.replaceAll('&', '&amp;')}"`)
  })

  test('shows user input as text and never as markup', () => {
    expect(html).not.toContain('<img')
    expect(html.match(/<a /g) ?? []).toHaveLength(
      Number(!!content.action) + Number(!!content.unsubscribe),
    )
  })

  test('is translated', () => {
    const others = languages.filter((other) => other !== locale)
    for (const other of others)
      expect(render(fillIn(name, DATA[name], { locale: other, timezone: 'UTC' })).text).not.toBe(
        text,
      )
  })
})

// Commas and spaces differ between versions of Node.
test.each([
  ['en', /Tuesday,? December 1, 2026,? 8:30\sAM/],
  ['en-GB', /Tuesday,? 1 December 2026,? 08:30/],
  ['de', /Dienstag, 1\. Dezember 2026,? 08:30/],
  ['fi', /Tuesday,? December 1, 2026,? 8:30\sAM/],
])('a due time is formatted for the reader in %s', (locale, expected) => {
  const { text } = render(fillIn('reminder', DATA.reminder, { locale, timezone: 'Asia/Tokyo' }))
  expect(text).toMatch(expected)
})

test.each(['Hello\r\nBcc: eve@example.com', 'Hello\nX: 1', 'a\u0000b\u0085c\u2028d'])(
  'a title with control characters is one line in the subject: %j',
  (title) => {
    const content = fillIn(
      'reminder',
      { ...DATA.reminder, title },
      { locale: 'en', timezone: 'UTC' },
    )
    expect(render(content).subject).not.toMatch(/[\p{Cc}\u2028\u2029]/u)
  },
)

test('a long title is truncated between characters', () => {
  const title = '⛴️🚢'.repeat(200)
  const content = fillIn('reminder', { ...DATA.reminder, title }, { locale: 'en', timezone: 'UTC' })
  const { subject } = render(content)
  expect([...subject].length).toBe(200)
  // Throws at half of a sign.
  expect(encodeURIComponent(subject)).not.toBe('')
})

test('an unknown timezone counts as UTC', () => {
  const contents = { at: '2026-12-01T08:30:00.000Z', reset_url: URL }
  const reader = { locale: 'en-GB', timezone: 'Mars/Olympus' }
  expect(render(fillIn('password_changed', contents, reader)).text).toMatch(/08:30:00 UTC/)
})
