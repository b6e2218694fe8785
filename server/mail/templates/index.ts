import { de } from './de.ts'
import { en } from './en.ts'
import { formatFor } from './format.ts'
import type { Letter, LetterContents, LetterName, Letters } from './template.ts'

/** Templates by language. To add a language, add a file and a line here. */
export const LANGUAGES: Readonly<Record<string, Letters>> = { en, de }

/** Fills in a template in the reader's language, or in English if there is no translation. */
export function write<K extends LetterName>(
  name: K,
  contents: LetterContents[K],
  reader: { locale: string; timezone: string },
): Letter & { language: string } {
  const language = languageOf(reader.locale)
  // Date formats depend on the region: en-GB has 1 December, en-US December 1.
  const dates = language && reader.locale
  const format = formatFor(dates ?? 'en', reader.timezone)
  return { language: language ?? 'en', ...LANGUAGES[language ?? 'en']![name](contents, format) }
}

/** The language of a locale, if there are templates for it. */
function languageOf(locale: string): string | undefined {
  const [language = ''] = locale.toLowerCase().split('-')
  return Object.hasOwn(LANGUAGES, language) ? language : undefined
}
