import type { Tracing } from '../runtime/tracing.ts'

const MAX_TEXT = 500
/** Clients choose the filters of lists, so the number of different statements has no limit. */
const MAX_KEPT = 500

interface About {
  name: string
  attributes: { 'db.system.name': string; 'db.query.text': string }
}

// biome-ignore lint/suspicious/noExplicitAny: the overloads of pg
type Query = (...args: any[]) => any

/** A `query` of a connection that runs each statement in a span, without its values. */
export function tracedQuery(query: Query, tracing: Pick<Tracing, 'span'>): Query {
  return (...args) => {
    const text: unknown = args[0]?.text ?? args[0]
    if (typeof text !== 'string') return query(...args)
    const { name, attributes } = about(text)
    const callback = args.at(-1)
    if (typeof callback !== 'function') return tracing.span(name, attributes, () => query(...args))
    const settled = tracing.span(
      name,
      attributes,
      () =>
        new Promise<void>((resolve, reject) => {
          query(...args.slice(0, -1), (error: unknown, result: unknown) => {
            callback(error, result)
            if (error) reject(error)
            else resolve()
          })
        }),
    )
    settled.catch(() => {}) // the callback has it
    return undefined
  }
}

const kept = new Map<string, About>()

function about(text: string): About {
  const known = kept.get(text)
  if (known) return known
  if (kept.size >= MAX_KEPT) kept.clear()
  const shown = withoutLiterals(text)
  const attributes = { 'db.system.name': 'postgresql', 'db.query.text': shown.slice(0, MAX_TEXT) }
  const found = { name: summary(shown), attributes }
  kept.set(text, found)
  return found
}

/** Most values are parameters, but the statement that begins a transaction contains an id. */
const withoutLiterals = (text: string) =>
  text
    .replaceAll(/'(?:[^']|'')*'/g, '?')
    .replaceAll(/\s+/g, ' ')
    .trim()

/** `update feeds, insert tasks`. */
function summary(text: string): string {
  const parts = [...text.matchAll(TABLE)].map(
    ([, verb = '', written, read]) => `${VERBS[verb.toLowerCase()] ?? 'select'} ${written ?? read}`,
  )
  return [...new Set(parts)].join(', ') || text.split(/\W/, 1)[0] || 'statement'
}

/** Not a function, such as in `extract(epoch from now())`, nor `on conflict do update set`. */
const TABLE =
  /\b(?:(insert into|update|delete from)\s+"?((?!set\b)[a-z_]\w*)|(?:from|join)\s+"?([a-z_]\w*)\b(?!"?\s*\())/gi
const VERBS: Readonly<Record<string, string>> = {
  'insert into': 'insert',
  update: 'update',
  'delete from': 'delete',
}
