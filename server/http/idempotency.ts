/**
 * `Idempotency-Key` of draft-ietf-httpapi-idempotency-key-header: a repeated request gets the answer of the first one,
 * and has no other effect. docs/decisions/0055-repeating-requests.md
 */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { canonicalJson, Problem } from '../../protocol/index.ts'
import { KEPT_MS, type KeptAnswer, MAX_KEPT } from '../sync/kept-answers.ts'
import type { Store, Transaction } from '../sync/store.ts'
import { storeWithin } from '../sync/within.ts'
import type { Answer, Call, Header, Operation } from './operation.ts'
import { headersOf } from './problems.ts'
import { encoded } from './send.ts'

const NAME = 'idempotency-key'
const MAX_LENGTH = 255
/** A string of structured fields (RFC 9651), as the draft has it, or without quotes, as most clients send it. */
const KEY = /^(?:"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255}))$/
/** A larger answer is not kept, and what it is the answer to not done. */
const MAX_ANSWER_BYTES = 1024 * 1024
const RETRY_SECONDS = 3_600

const header: Header = {
  name: 'Idempotency-Key',
  shared: 'IdempotencyKey',
  maxLength: MAX_LENGTH,
  description:
    'A unique text, such as a UUID; use a new one for each request that is not a retry. If you repeat a request with its key within 24 hours, it has no further effect and gets the same status, headers and body, errors included. A repetition at the same time waits for the first request. Responses with 429 or 5xx are not stored, so you can retry them. Another request with the same key gets a 422.',
}

interface Dependencies {
  store: Pick<Store, 'transaction'>
  now: () => Date
}

/** Makes operations take the header. They have to write to `call.within`. */
export function repeatable({ store, now }: Dependencies) {
  return (operation: Operation): Operation => {
    const { headers = [], problems } = operation
    return {
      ...operation,
      repeats: 'by_key',
      headers: [...headers, header],
      // The answer may have been dropped.
      problems: [...problems, 'idempotency_key_reused', 'not_found'],
      async handle(call) {
        const key = keyIn(call.headers)
        return key === undefined ? operation.handle(call) : once(operation, call, key)
      },
    }
  }

  /** The lock of the transaction lets one request in at a time, on all nodes. */
  function once(operation: Operation, call: Call, key: string): Promise<Answer> {
    const at = now()
    const since = new Date(at.getTime() - KEPT_MS)
    const fingerprint = fingerprintOf(operation, call)
    return store.transaction(call.user, async (transaction) => {
      const kept = await transaction.answers.find(key, since)
      if (kept) return repeated(kept, fingerprint)
      const answer = await answered(operation, call, transaction)
      const text = textOf(answer)
      if (Buffer.byteLength(text) > MAX_ANSWER_BYTES) throw tooLarge()
      const isKept = await transaction.answers.keep(
        key,
        { fingerprint, answer: text },
        { since, at },
      )
      if (!isKept) throw tooMany()
      return answer
    })
  }
}

/** @throws Problem `invalid` where a key is sent that would keep nothing */
export function refuseKey(headers: IncomingHttpHeaders): void {
  if (headers[NAME] === undefined) return
  throw invalidKey('Omit it: this operation keeps no answer, because that may have a secret.')
}

/** @throws Problem `invalid` */
function keyIn(headers: IncomingHttpHeaders): string | undefined {
  const given = headers[NAME]
  if (given === undefined) return undefined
  const [, quoted, plain] = (typeof given === 'string' && KEY.exec(given)) || []
  const key = quoted ?? plain
  if (key !== undefined) return key
  throw invalidKey(
    `Send one key of at most ${MAX_LENGTH} characters: letters, digits and signs, such as a UUID.`,
  )
}

function invalidKey(remedy: string): Problem {
  return new Problem('invalid', `The header Idempotency-Key is not accepted. ${remedy}`, {
    errors: { [NAME]: [remedy] },
  })
}

/** What the request is, whoever of the person sends it: but with fewer rights it is another one. */
function fingerprintOf({ id }: Operation, { params, query, headers, scopes, body }: Call): Buffer {
  const rights = scopes ? [...scopes].sort() : null
  const what = [id, params, query, headers['if-match'] ?? null, rights, body ?? null]
  return createHash('sha256')
    .update(JSON.stringify(canonicalJson(what)))
    .digest()
}

/** The answer, or the refusal if that is one to keep: after it, nothing is written. */
async function answered(
  operation: Operation,
  call: Call,
  transaction: Transaction,
): Promise<Answer> {
  try {
    const within = storeWithin(transaction)
    return await transaction.undoing(() => operation.handle({ ...call, within }))
  } catch (error) {
    if (!(error instanceof Problem) || error.status >= 500 || error.status === 429) throw error
    return { status: error.status, headers: headersOf(error), body: error.body() }
  }
}

function textOf({ body, ...answer }: Answer): string {
  const text = JSON.stringify(answer)
  return body === undefined ? text : `${text.slice(0, -1)},"body":${encoded(body)}}`
}

/** @throws Problem */
function repeated(kept: KeptAnswer, fingerprint: Buffer): Answer {
  if (!kept.fingerprint.equals(fingerprint))
    throw new Problem(
      'idempotency_key_reused',
      'Another request was sent with this Idempotency-Key. Use a new key for each request, or repeat the first one unchanged.',
    )
  if (kept.answer !== null) return JSON.parse(kept.answer)
  throw new Problem(
    'not_found',
    'This request was already answered, and its repetition had no effect. The stored response was erased, because a document in it was deleted for good.',
  )
}

function tooLarge(): Problem {
  return new Problem(
    'too_large',
    `The response would exceed ${MAX_ANSWER_BYTES} bytes, too large to store for an Idempotency-Key. Nothing was done. Send fewer operations at a time, or no key.`,
  )
}

function tooMany(): Problem {
  return new Problem(
    'too_many_requests',
    `You have used too many Idempotency-Keys in 24 hours (${MAX_KEPT}, or fewer with long responses). Nothing was done. Try again later, or send no key.`,
    { retryAfter: RETRY_SECONDS },
  )
}
