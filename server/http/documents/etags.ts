import type { IncomingHttpHeaders } from 'node:http'
import { Problem, type Resource } from '../../../protocol/index.ts'
import type { Feed } from '../../sync/store.ts'

/** The ETag of a document is the `seq` of its last change. */
export const writeEtag = (seq: number) => `"${seq}"`

/**
 * The ETag of a list: it changes with every change of the user's documents, and with what its filters mean. Weak,
 * because a list that has not changed may get another one.
 */
export function listEtag({ version, revision, table }: Resource, feed: Feed, today = ''): string {
  const purged = feed.horizons[table]?.seq ?? 0
  return `W/"${[feed.seq, feed.epoch, purged, `${version}.${revision}`, today].join('-')}"`
}

/** @throws Problem `invalid` when the header is not a list of entity tags */
export function isKnown(headers: IncomingHttpHeaders, etag: string): boolean {
  const known = headers['if-none-match']?.trim()
  if (known === undefined || known === '*') return known === '*'
  readEtags(headers, 'if-none-match')
  const opaque = (tag: string) => tag.replace(/^W\//, '')
  return known.split(/\s*,\s*/).some((tag) => opaque(tag) === opaque(etag))
}

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
