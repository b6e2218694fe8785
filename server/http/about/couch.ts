import type { RequestHandler } from 'express'
import { send } from '../send.ts'

/** Answers clients of CouchDB, such as PouchDB, in the form that they show to people. */
export const refuseCouch: RequestHandler = (_req, res) =>
  send(res, {
    status: 404,
    headers: { 'Cache-Control': 'no-store' },
    body: {
      error: 'not_found',
      reason:
        'This server does not replicate with CouchDB or PouchDB. GET /replication/ lists what RxDB and other clients replicate.',
    },
  })
