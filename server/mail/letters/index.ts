import { de } from './de.ts'
import { en } from './en.ts'
import { formatFor } from './format.ts'
import type { Letter, LetterContents, LetterName, Letters } from './letter.ts'

/** The languages that letters are written in: add a file, and a line here. */
export const LANGUAGES: Readonly<Record<string, Letters>> = { en, de }

/** Writes a letter in the reader's language, or in English where we have not learned it. */
export function write<K extends LetterName>(
  name: K,
  contents: LetterContents[K],
  reader: { locale: string; timezone: string },
): Letter & { language: string } {
  const language = languageOf(reader.locale)
  // A region may have its own dates: en-GB has 1 December, en-US December 1.
  const dates = language && reader.locale
  const format = formatFor(dates ?? 'en', reader.timezone)
  return { language: language ?? 'en', ...LANGUAGES[language ?? 'en']![name](contents, format) }
}

/** The language of a locale, if letters are written in it. */
function languageOf(locale: string): string | undefined {
  const [language = ''] = locale.toLowerCase().split('-')
  return Object.hasOwn(LANGUAGES, language) ? language : undefined
}
