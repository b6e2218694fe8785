import { foldText as folded, searchTerms as termsOf } from '../../protocol/search.ts'

/**
 * The words of a search, and phrases in double quotes, as the server searches for them. A document has a term if the
 * `foldText` of its title or description contains it.
 */
export const searchTerms = (search: string): string[] => termsOf(search)

/** A text without case, accents, widths and typography: `foldText('Café')` is `cafe`. */
export const foldText = (text: string): string => folded(text)
