import type { RequestHandler } from 'express'
import { forbidden, missing } from '../../couch/refusal.ts'

const NO_QUERIES =
  'This server does not support queries; query a local database, or use the REST API of the server.'
const NO_DESIGNS = 'This server does not support design documents; query a local database.'
const NO_ATTACHMENTS = 'This server does not support attachments.'

/** Queries, and what design documents are for. Comes before the operations, to which these would be ids of documents. */
export const refuseQueries: RequestHandler = (req, _res, next) => {
  if (/^\/[^/]+\/_(find|index|explain)(\/|$)/.test(req.path)) throw missing(NO_QUERIES)
  if (/^\/[^/]+\/_design\/[^/]+\/_/.test(req.path)) throw missing(NO_DESIGNS)
  next()
}

/** Everything else of CouchDB that this server lacks. */
export const unknownInCouch: RequestHandler = (req) => {
  const isAttachment = /^\/[^/]+\/(_design\/)?[^_/][^/]*\/[^/]+/.test(req.path)
  const isDesign = /^\/[^/]+\/_design\/[^/]+\/?$/.test(req.path)
  if (req.method === 'PUT' && isDesign) throw forbidden(NO_DESIGNS)
  if (req.method === 'PUT' && isAttachment) throw forbidden(NO_ATTACHMENTS)
  throw missing(isAttachment ? NO_ATTACHMENTS : 'missing')
}
