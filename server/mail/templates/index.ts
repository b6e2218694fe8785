import { de } from './de.ts'
import { en } from './en.ts'
import { formatFor } from './format.ts'
import type { MailContent, TemplateData, TemplateName, Templates } from './template.ts'

/** Templates by language. To add a language, add a file and a line here. */
export const LANGUAGES: Readonly<Record<string, Templates>> = { en, de }

/** Fills in a template in the reader's language, or in English if there is no translation. */
export function fillIn<K extends TemplateName>(
  name: K,
  data: TemplateData[K],
  reader: { locale: string; timezone: string },
): MailContent & { language: string } {
  const language = languageOf(reader.locale)
  // Date formats depend on the region: en-GB has 1 December, en-US December 1.
  const dates = language && reader.locale
  const format = formatFor(dates ?? 'en', reader.timezone)
  return { language: language ?? 'en', ...LANGUAGES[language ?? 'en']![name](data, format) }
}

/** The language of a locale, if there are templates for it. */
function languageOf(locale: string): string | undefined {
  const [language = ''] = locale.toLowerCase().split('-')
  return Object.hasOwn(LANGUAGES, language) ? language : undefined
}
