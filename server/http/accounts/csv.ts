/**
 * Where a cell may begin for a program that separates at something else than commas, as Excel does in most
 * languages. Such programs see the quotes of a text as part of its cells, or as the quotes of those.
 */
const SEPARATORS = ';؛；|\\t\\r\\n\\v\\f\\x85\\u2028\\u2029'
/** What spreadsheets skip in front of a formula, quotes included; no separator, so that runs do not overlap. */
const SKIPPED = `(?:["\\p{Zs}\\p{Cf}]|(?![${SEPARATORS}])\\p{Cc})*`
const FORMULA_SIGNS = '=+\\-@＝＋－＠﹦﹢﹣﹫'
const BEGIN_OF_FORMULA = new RegExp(
  `(?<=^|[${SEPARATORS}])(?=${SKIPPED}[${FORMULA_SIGNS}])|^(?=[\\t\\r\\n])`,
  'gu',
)

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
  const harmless = String(value).replaceAll(BEGIN_OF_FORMULA, "'")
  return NEEDS_QUOTES.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

const NEEDS_QUOTES = new RegExp(`[",${SEPARATORS}]`, 'u')
