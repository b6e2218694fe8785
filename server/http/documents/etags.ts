import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../../../protocol/index.ts'

/** The ETag of a document is the `seq` of its last change. */
export const writeEtag = (seq: number) => `"${seq}"`

const LIST = /^(?:W\/)?"[^"]*"(?:\s*,\s*(?:W\/)?"[^"]*")*$/
/** One of our tags, optionally with the suffix of a compressing proxy (Caddy, Apache, Jetty). */
const OURS = /^(\d{1,15})(?:--?(?:gzip|br|zstd|deflate))?$/

/**
 * The versions in a conditional request; undefined without the header. A compressing proxy marks tags
 * as weak (`W/`) or adds a suffix (`"5-gzip"`), and clients send them back like that. A tag identifies
 * the version of the document, not its encoding, so all forms are accepted.
 *
 * @throws Problem `invalid` when the header is not a list of entity tags
 */
export function readEtags(
  headers: IncomingHttpHeaders,
  name: 'if-match' | 'if-none-match',
): '*' | number[] | undefined {
  const value = headers[name]?.trim()
  if (value === undefined) return undefined
  if (value === '*') return '*'
  if (!LIST.test(value))
    throw new Problem(
      'invalid',
      `Invalid ${name} header; send a list of entity tags such as "12", "15".`,
      {
        errors: { [name]: ['Send an ETag exactly as received, with its quotes, or *.'] },
      },
    )
  const tags = Array.from(value.matchAll(/"([^"]*)"/g), ([, tag]) => OURS.exec(tag!)?.[1])
  // A foreign tag matches no version.
  return tags.map((seq) => (seq === undefined ? -1 : Number(seq)))
}
