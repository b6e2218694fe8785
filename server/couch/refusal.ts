/** A refusal in CouchDB's words. PouchDB decides by `error` whether to try again: see the tables in its tests. */
export class Refusal extends Error {
  override name = 'Refusal'
  readonly status: number
  readonly error: string

  constructor(status: number, error: string, reason: string) {
    super(reason)
    this.status = status
    this.error = error
  }

  get reason(): string {
    return this.message
  }
}

/** What no client of the protocol sends: it refuses the whole batch. */
export class InvalidRequest extends Refusal {
  constructor(reason: string, error = 'bad_request') {
    super(400, error, reason)
  }
}

/** For one document of a batch: the client gives it up, and goes on with the others. */
export const forbidden = (reason: string) => new Refusal(403, 'forbidden', reason)
export const badRequest = (reason: string) => new Refusal(400, 'bad_request', reason)
export const missing = (reason = 'missing') => new Refusal(404, 'not_found', reason)
export const conflict = () => new Refusal(409, 'conflict', 'Document update conflict.')
