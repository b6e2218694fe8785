/** What a spreadsheet would take for a formula, and run. */
const FORMULA = /^[=+\-@\t\r]/

/**
 * A record of CSV, as RFC 4180 has it. A text that begins like a formula has an apostrophe before it,
 * as spreadsheets write text themselves: titles may come from anywhere.
 */
export function csvRecord(values: readonly (string | boolean | null)[]): string {
  return `${values.map(field).join(',')}\r\n`
}

function field(value: string | boolean | null): string {
  if (value === null) return ''
  const text = String(value)
  const harmless = FORMULA.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}
