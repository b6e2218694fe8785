/**
 * Positions where a spreadsheet would evaluate a formula. Programs that separate at semicolons or tabs
 * ignore quotes inside a line, so for them each separator in a text ends a cell.
 */
const FORMULA = /(?<=^|[;\t\r\n])(?= *[=+\-@＝＋－＠])|^(?=[\t\r])/g

/** Excel needs it to detect UTF-8; other readers ignore it. */
export const BYTE_ORDER_MARK = '\ufeff'

/**
 * A CSV record of RFC 4180. Formulas get an apostrophe in front, which spreadsheets use to mark text:
 * titles may come from anywhere.
 */
export function csvRecord(values: readonly (string | boolean | null)[]): string {
  return `${values.map(field).join(',')}\r\n`
}

function field(value: string | boolean | null): string {
  if (value === null) return ''
  const harmless = String(value).replaceAll(FORMULA, "'")
  return /[",;\t\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}
