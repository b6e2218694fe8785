import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../../protocol/index.ts'

/** The ETag of a document is the number of its last change. */
export const writeEtag = (seq: number) => `"${seq}"`

/**
 * The versions that a conditional request names; undefined without the header. A proxy that
 * compresses marks the tags it passes on as weak (`W/`), and clients send them back like that: the
 * tag names the version of the document, not its encoding, so both forms are understood.
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
  const tags = value.split(',').map((tag) => /^\s*(?:W\/)?"([^"]*)"\s*$/.exec(tag)?.[1])
  if (tags.includes(undefined))
    throw new Problem(
      'invalid',
      `The header ${name} is not a list of entity tags such as "12", "15".`,
      {
        errors: { [name]: ['Send an ETag as it was received, quotes included, or *.'] },
      },
    )
  // A tag that is not one of ours is simply a version that no document has.
  return tags.map((tag) => (/^\d{1,15}$/.test(tag!) ? Number(tag) : -1))
}
