import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../../../protocol/index.ts'

/** The ETag of a document is the number of its last change. */
export const writeEtag = (seq: number) => `"${seq}"`

const LIST = /^(?:W\/)?"[^"]*"(?:\s*,\s*(?:W\/)?"[^"]*")*$/
/** A tag of ours, perhaps with the suffix that a compressing proxy (Caddy, Apache, Jetty) gave it. */
const OURS = /^(\d{1,15})(?:--?(?:gzip|br|zstd|deflate))?$/

/**
 * The versions that a conditional request names; undefined without the header. A proxy that compresses
 * marks the tags it passes on as weak (`W/`) or gives them a suffix (`"5-gzip"`), and clients send them
 * back like that: the tag names the version of the document, not its encoding, so all forms are
 * understood.
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
      `The header ${name} is not a list of entity tags such as "12", "15".`,
      {
        errors: { [name]: ['Send an ETag as it was received, quotes included, or *.'] },
      },
    )
  const tags = Array.from(value.matchAll(/"([^"]*)"/g), ([, tag]) => OURS.exec(tag!)?.[1])
  // A tag that is not one of ours is simply a version that no document has.
  return tags.map((seq) => (seq === undefined ? -1 : Number(seq)))
}
