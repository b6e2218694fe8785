/**
 * Where a spreadsheet would begin a cell with a formula, and run it. Those that separate at semicolons
 * or tabs see no quotes in the midst of a line, so to them each one in a text ends a cell.
 */
const FORMULA = /(?<=^|[;\t\r\n])(?= *[=+\-@＝＋－＠])|^(?=[\t\r])/g

/** By which Excel knows UTF-8; other readers skip it. */
export const BYTE_ORDER_MARK = '\ufeff'

/**
 * A record of CSV, as RFC 4180 has it. What would be a formula has an apostrophe before it, as
 * spreadsheets write text themselves: titles may come from anywhere.
 */
export function csvRecord(values: readonly (string | boolean | null)[]): string {
  return `${values.map(field).join(',')}\r\n`
}

function field(value: string | boolean | null): string {
  if (value === null) return ''
  const harmless = String(value).replaceAll(FORMULA, "'")
  return /[",;\t\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}
