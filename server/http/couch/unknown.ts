import type { RequestHandler } from 'express'
import { forbidden, missing } from '../../couch/refusal.ts'

const UNSUPPORTED: readonly [RegExp, string][] = [
  [
    /\/_(find|index|explain)\b/,
    'This server has no queries: use the REST API, or query a local database.',
  ],
  [/\/_design\/[^/]+\/_/, 'This server runs no design documents: query a local database.'],
  [/^\/[^/]+\/[^_/][^/]*\/[^/]+/, 'This server stores no attachments.'],
]

/** What CouchDB has and this server has not. */
export const unknownInCouch: RequestHandler = (req) => {
  const reason = UNSUPPORTED.find(([path]) => path.test(req.path))?.[1]
  if (req.method === 'PUT' && reason) throw forbidden(reason)
  throw missing(reason ?? 'missing')
}
