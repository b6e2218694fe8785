import { type AllDocsOptions, allDocs } from '../../couch/all-docs.ts'
import { type CouchDatabase, seqText } from '../../couch/database.ts'
import { badRequest } from '../../couch/refusal.ts'
import { type Answer, type Call, type Operation, operation } from '../operation.ts'
import { BULK_BYTES, type CouchDependencies, databaseOf, pathOf, READING } from './context.ts'
import { feedErrors } from './dialect.ts'
import { FEEDS } from './feeds.ts'
import { CHANGES, FILTER, KEYS, ok, ROWS } from './forms.ts'
import { boolean, both, choice, json, number, requireList, text } from './parameters.ts'
import { listed } from './parts.ts'

/** `_changes`. */
export function changesOperations(own: CouchDependencies): Operation[] {
  const query = [
    choice(
      'feed',
      FEEDS,
      '`longpoll` waits for a change. `continuous` sends changes as they come, one a line, and `eventsource` as server-sent events.',
    ),
    text('since', 'The number after which to begin, or `now`.'),
    number('limit', 'The maximum number of changes.'),
    choice('style', ['main_only', 'all_docs'], '`all_docs` to name the revisions of all leaves.'),
    choice(
      'filter',
      ['_doc_ids', '_selector', '_design'],
      'Those with the ids in `doc_ids`, those that match the `selector` of the body, or those of designs.',
    ),
    text('view', 'Of the filter _view, which is refused.'),
    json('doc_ids', 'The ids to filter by.'),
    text('heartbeat', 'Milliseconds between two line feeds while nothing happens.'),
    text('timeout', 'Milliseconds to wait, without `heartbeat`.'),
    boolean('include_docs', 'Whether to send the documents.'),
    boolean('conflicts', 'Whether they name their conflicts.'),
    boolean('descending', 'Whether the last change comes first.'),
  ]
  const common = {
    ...READING,
    compressed: true,
    path: `${pathOf(own)}_changes`,
    query,
    errors: feedErrors,
    problems: ['not_found', 'checkpoint_expired'],
  } as const
  return [
    operation({
      ...common,
      id: `${own.name}_changes`,
      method: 'get',
      summary: 'List or follow changes',
      description:
        'Each document once, at its last change. Other values of `filter` are refused, because the server runs no filter functions.',
      answers: ok('The changes.', CHANGES),
      async handle(call) {
        return own.feeds.serve(call, await databaseOf(own, call), {
          ...call.query,
          since: sinceOf(call),
        })
      },
    }),
    operation({
      ...common,
      id: `${own.name}_changes_of`,
      method: 'post',
      summary: 'List or follow some changes',
      description:
        'Takes `doc_ids` and `selector` in the body; the other parameters may be there, too.',
      body: FILTER,
      answers: ok('The changes.', CHANGES),
      handle: async (call) =>
        own.feeds.serve(call as unknown as Call, await databaseOf(own, call), {
          ...call.query,
          ...call.body,
        }),
    }),
  ]
}

/** A browser that connects again asks for the same URL, and says in the header how far it is. */
function sinceOf({ query, request }: Call): unknown {
  const last = query.feed === 'eventsource' ? request.headers['last-event-id'] : undefined
  return last ?? query.since
}

/** `_all_docs`. */
export function listOperations(own: CouchDependencies): Operation[] {
  const query = [
    json('key', 'The id of one document.'),
    json('keys', 'The ids of documents.'),
    ...['startkey', 'start_key', 'endkey', 'end_key'].map((one) => json(one, 'An end of a range.')),
    boolean('inclusive_end', 'Whether the end belongs to the range.'),
    boolean('descending', 'Whether the last comes first.'),
    number('skip', 'How many to leave out.'),
    number('limit', 'The maximum number of rows.'),
    boolean('include_docs', 'Whether to send the documents.'),
    boolean('conflicts', 'Whether they name their conflicts.'),
    boolean('update_seq', 'Whether to say where the feed is.'),
    choice('deleted', ['ok'], '`ok` to get deleted documents with their content.'),
  ]
  const common = { ...READING, compressed: true, path: `${pathOf(own)}_all_docs`, query } as const
  return [
    operation({
      ...common,
      id: `${own.name}_all_docs`,
      method: 'get',
      summary: 'List documents by id',
      description: 'All documents that are not deleted, sorted by id.',
      answers: ok('The documents.', ROWS),
      handle: async (call) => list(own, call, await databaseOf(own, call), call.query),
    }),
    operation({
      ...common,
      id: `${own.name}_some_docs`,
      method: 'post',
      summary: 'List documents with some ids',
      description:
        'One row for each of the `keys`, in their order, even if there is no such document. Other parameters may be in the body.',
      maxBodyBytes: BULK_BYTES,
      body: KEYS,
      answers: ok('The documents.', ROWS),
      handle: async (call) =>
        list(
          own,
          call as unknown as Call,
          await databaseOf(own, call),
          both<ListQuery>(call.query, call.body),
        ),
    }),
  ]
}

async function list(
  own: CouchDependencies,
  call: Call,
  database: CouchDatabase,
  query: ListQuery,
): Promise<Answer> {
  const options = listOptions(query)
  const after = async () => {
    const { live } = await own.stored.revisions.count(database.user, database.types)
    const { seq, epoch } = await database.head()
    const rest = {
      total_rows: live,
      offset: options.keys ? null : options.skip,
      ...(query.update_seq === true && { update_seq: seqText(seq, epoch) }),
    }
    return `\n],${JSON.stringify(rest).slice(1)}\n`
  }
  return own.inParts(call, listed('{"rows":[\n', allDocs(own.stored, database, options), after))
}

interface ListQuery {
  key?: unknown
  keys?: unknown
  startkey?: unknown
  start_key?: unknown
  endkey?: unknown
  end_key?: unknown
  inclusive_end?: boolean
  descending?: boolean
  skip?: number
  limit?: number
  include_docs?: boolean
  conflicts?: boolean
  update_seq?: boolean
  deleted?: string
}

/** @throws Refusal */
function listOptions(query: ListQuery): AllDocsOptions {
  const { key, keys, inclusive_end = true, descending = false, skip = 0 } = query
  if (key !== undefined && keys !== undefined)
    throw badRequest('`keys` and `key` cannot be used together.')
  const isOne = key !== undefined
  const [start, end] = isOne
    ? [key, key]
    : [query.startkey ?? query.start_key, query.endkey ?? query.end_key]
  const [from, to] = [boundOf(start, descending), boundOf(end, !descending)]
  return {
    ...(keys !== undefined && { keys: requireList(keys, 'keys') }),
    // Beyond all ids.
    ...((from === NOTHING || to === NOTHING) && { keys: [] }),
    ...(typeof from === 'string' && { from }),
    ...(typeof to === 'string' && { to }),
    isExclusive: !inclusive_end && !isOne,
    isDescending: descending,
    skip,
    limit: query.limit ?? Number.POSITIVE_INFINITY,
    withDocuments: query.include_docs === true,
    conflicts: query.conflicts === true,
    withDeleted: query.deleted === 'ok',
  }
}

const NOTHING = Symbol('nothing')

/** The end of a range of ids. What is no text comes before or after all of them, as CouchDB compares values. */
function boundOf(key: unknown, isUpper: boolean): string | undefined | typeof NOTHING {
  if (typeof key === 'string' || key === undefined) return key
  const isAbove = typeof key === 'object' && key !== null
  return isAbove === isUpper ? undefined : NOTHING
}
