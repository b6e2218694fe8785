import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { type AllDocsOptions, allDocs } from '../../couch/all-docs.ts'
import { type CouchDatabase, type CouchStore, seqText } from '../../couch/database.ts'
import { getLocal, LOCAL, putLocal } from '../../couch/locals.ts'
import { bulkGet, getDocument, openRevisions, revsDiff } from '../../couch/read.ts'
import { badRequest, missing, Refusal } from '../../couch/refusal.ts'
import { type Row, write } from '../../couch/write.ts'
import { type Answer, type Call, type Operation, operation } from '../operation.ts'
import { type Databases, fixedDatabases, requireDatabase } from './databases.ts'
import type { FeedQuery } from './feeds.ts'
import { boolean, both, json, number, requireList, text } from './parameters.ts'
import { type InParts, listed } from './parts.ts'

export interface CouchDependencies {
  /** Of the paths: `/couch/`. */
  prefix: string
  /** Of the ids of the operations. */
  name: string
  stored: CouchStore
  databases: Databases
  feeds: { serve(call: Call, database: CouchDatabase, query: FeedQuery): Promise<Answer> }
  inParts: InParts
  version: string
}

/** As clients of CouchDB may send them. */
const BULK_BYTES = 8 * 1024 * 1024

const anyObject = z.looseObject({})
const anyQuery = { ignoresOthers: true } as const

/** The protocol of CouchDB's replication, as PouchDB and others speak it. */
export function couchOperations({
  prefix,
  name,
  stored,
  databases,
  feeds,
  inParts,
  version,
}: CouchDependencies): Operation[] {
  const at = `${prefix}{database}/`
  const reading = {
    ...anyQuery,
    tag: 'couchdb',
    access: 'bearer',
    scopes: ['tasks:read'],
    problems: [],
  } as const
  const writing = { ...reading, scopes: ['tasks:write'] } as const
  const databaseOf = (call: Call<unknown>) => requireDatabase(databases, call as Call)

  return [
    operation({
      ...reading,
      id: `${name}_server`,
      method: 'get',
      path: prefix,
      summary: 'Describe the CouchDB server',
      answers: ok('The server, with an id of its own for each user.'),
      handle: async (call) => ({
        status: 200,
        body: {
          couchdb: 'Welcome',
          uuid: await databases.uuid(call),
          version: '3.5.0',
          vendor: { name: 'Tasktide', version },
        },
      }),
    }),
    operation({
      ...reading,
      id: `${name}_session`,
      method: 'get',
      path: `${prefix}_session`,
      summary: 'Show who is signed in to the CouchDB server',
      answers: ok('The user.'),
      handle: async ({ user }) => ({
        status: 200,
        body: { ok: true, userCtx: { name: user, roles: [] }, info: { authenticated: 'default' } },
      }),
    }),
    operation({
      ...reading,
      id: `${name}_database`,
      method: 'get',
      path: at,
      summary: 'Describe a database',
      answers: ok('The database.'),
      async handle(call) {
        const database = await databaseOf(call)
        await database.reviseFeed(0, Number.POSITIVE_INFINITY)
        const [{ seq, epoch }, { live, deleted }] = await Promise.all([
          database.head(),
          stored.revisions.count(database.user, database.types),
        ])
        const body = {
          db_name: database.name,
          doc_count: live,
          doc_del_count: deleted,
          update_seq: seqText(seq, epoch),
          purge_seq: 0,
          compact_running: false,
          instance_start_time: '0',
        }
        return { status: 200, body }
      },
    }),
    operation({
      ...writing,
      id: `${name}_create_database`,
      method: 'put',
      path: at,
      summary: 'Create a database',
      description: 'Databases exist already: 412.',
      answers: { 201: { description: 'The database was created.' } },
      async handle(call) {
        if (databases.create && (await databases.create(call.params.database!)))
          return { status: 201, body: { ok: true } }
        if (!(await databases.find(call, call.params.database!))) throw fixedDatabases()
        return couchError(
          412,
          'file_exists',
          'The database could not be created, the file already exists.',
        )
      },
    }),
    operation({
      ...writing,
      id: `${name}_delete_database`,
      method: 'delete',
      path: at,
      summary: 'Delete a database',
      answers: ok('The database was deleted.'),
      async handle(call) {
        await databaseOf(call)
        if (!databases.drop) throw fixedDatabases()
        if (!(await databases.drop(call.params.database!)))
          throw missing('Database does not exist.')
        return { status: 200, body: { ok: true } }
      },
    }),
    operation({
      ...writing,
      id: `${name}_create_document`,
      method: 'post',
      path: at,
      writes: true,
      summary: 'Create a document',
      body: { name: 'CouchDocument', schema: anyObject, examples: {} },
      answers: { 201: { description: 'The document was stored.' } },
      async handle(call) {
        return writeOne(await databaseOf(call), withId(call.body) as object, false, 201)
      },
    }),
    ...changesOperations(),
    ...listOperations(),
    ...replicationOperations(),
    ...stubOperations(),
    ...localOperations(),
    ...documentOperations('document', `${at}{id}/`, ({ params }) => params.id!),
    ...documentOperations('design', `${at}_design/{id}/`, ({ params }) => `_design/${params.id}`),
  ]

  function changesOperations(): Operation[] {
    const query = [
      text('feed', 'normal, longpoll, continuous or eventsource.'),
      text('since', 'The number after which to begin, or `now`.'),
      number('limit', 'The maximum number of changes.'),
      text('style', '`all_docs` to name the revisions of all leaves.'),
      text('filter', '_doc_ids, _selector or _design.'),
      text('view', 'Of the filter _view, which is refused.'),
      json('doc_ids', 'The ids to filter by.'),
      text('heartbeat', 'Milliseconds between two line feeds while nothing happens.'),
      text('timeout', 'Milliseconds to wait, without `heartbeat`.'),
      boolean('include_docs', 'Whether to send the documents.'),
      boolean('conflicts', 'Whether they name their conflicts.'),
      boolean('descending', 'Whether the last change comes first.'),
    ]
    const own = { ...reading, compressed: true, path: `${at}_changes`, query } as const
    return [
      operation({
        ...own,
        id: `${name}_changes`,
        method: 'get',
        summary: 'List or follow changes',
        answers: ok('The changes.'),
        async handle(call) {
          const since = call.query.since ?? call.request.headers['last-event-id']
          return feeds.serve(call, await databaseOf(call), { ...call.query, since })
        },
      }),
      operation({
        ...own,
        id: `${name}_changes_of`,
        method: 'post',
        summary: 'List or follow some changes',
        body: { name: 'CouchFilter', schema: anyObject, examples: {} },
        answers: ok('The changes.'),
        handle: async (call) =>
          feeds.serve(call as unknown as Call, await databaseOf(call), {
            ...call.query,
            ...call.body,
          }),
      }),
    ]
  }

  function listOperations(): Operation[] {
    const query = [
      json('key', 'The id of one document.'),
      json('keys', 'The ids of documents.'),
      ...['startkey', 'start_key', 'endkey', 'end_key'].map((one) =>
        json(one, 'An end of a range.'),
      ),
      boolean('inclusive_end', 'Whether the end belongs to the range.'),
      boolean('descending', 'Whether the last comes first.'),
      number('skip', 'How many to leave out.'),
      number('limit', 'The maximum number of rows.'),
      boolean('include_docs', 'Whether to send the documents.'),
      boolean('conflicts', 'Whether they name their conflicts.'),
      boolean('update_seq', 'Whether to say where the feed is.'),
      text('deleted', '`ok` to get deleted documents with their content.'),
    ]
    const own = { ...reading, compressed: true, path: `${at}_all_docs`, query } as const
    return [
      operation({
        ...own,
        id: `${name}_all_docs`,
        method: 'get',
        summary: 'List documents by id',
        answers: ok('The documents.'),
        handle: async (call) => list(call, await databaseOf(call), call.query),
      }),
      operation({
        ...own,
        id: `${name}_some_docs`,
        method: 'post',
        summary: 'List documents with some ids',
        maxBodyBytes: BULK_BYTES,
        body: { name: 'CouchKeys', schema: anyObject, examples: {} },
        answers: ok('The documents.'),
        handle: async (call) =>
          list(
            call as unknown as Call,
            await databaseOf(call),
            both<ListQuery>(call.query, call.body),
          ),
      }),
    ]
  }

  async function list(call: Call, database: CouchDatabase, query: ListQuery): Promise<Answer> {
    const options = listOptions(query)
    const after = async () => {
      const { live } = await stored.revisions.count(database.user, database.types)
      const { seq, epoch } = await database.head()
      const rest = {
        total_rows: live,
        offset: options.keys ? null : options.skip,
        ...(query.update_seq === true && { update_seq: seqText(seq, epoch) }),
      }
      return `\n],${JSON.stringify(rest).slice(1)}\n`
    }
    return inParts(call, listed('{"rows":[\n', allDocs(stored, database, options), after))
  }

  function replicationOperations(): Operation[] {
    return [
      operation({
        ...writing,
        id: `${name}_bulk_docs`,
        method: 'post',
        path: `${at}_bulk_docs`,
        writes: ({ docs }: { docs: readonly unknown[] }) => docs.length,
        maxBodyBytes: BULK_BYTES,
        summary: 'Store documents',
        body: {
          name: 'CouchBulkDocs',
          schema: z.looseObject({
            docs: z.array(z.unknown(), { error: "Missing JSON list of 'docs'" }),
            new_edits: z.boolean().optional(),
          }),
          examples: {},
        },
        answers: { 201: { description: 'What became of each.' } },
        async handle(call) {
          const database = await databaseOf(call)
          const isReplicated = call.body.new_edits === false
          const { docs } = call.body
          const rows = await storeAll(
            database,
            isReplicated ? docs : docs.map(withId),
            isReplicated,
          )
          const shown = isReplicated ? rows.filter((row) => 'refusal' in row) : rows
          return { status: 201, body: shown.map(rowOnWire) }
        },
      }),
      operation({
        ...reading,
        id: `${name}_bulk_get`,
        method: 'post',
        path: `${at}_bulk_get`,
        compressed: true,
        maxBodyBytes: BULK_BYTES,
        query: [
          boolean('revs', 'Whether to send their ancestors.'),
          boolean('latest', 'Whether to send the newest that follow them.'),
        ],
        summary: 'Get revisions of documents',
        body: {
          name: 'CouchBulkGet',
          schema: z.looseObject({
            docs: z.array(z.looseObject({ id: z.string(), rev: z.string().optional() })),
          }),
          examples: {},
        },
        answers: ok('The revisions.'),
        async handle(call) {
          const parts = bulkGet(stored, await databaseOf(call), call.body.docs, call.query)
          return inParts(
            call as unknown as Call,
            listed('{"results":[\n', parts, () => '\n]}\n'),
          )
        },
      }),
      operation({
        ...reading,
        id: `${name}_revs_diff`,
        method: 'post',
        path: `${at}_revs_diff`,
        compressed: true,
        maxBodyBytes: BULK_BYTES,
        summary: 'Compare revisions',
        body: {
          name: 'CouchRevisions',
          schema: z.record(z.string(), z.array(z.string())),
          examples: {},
        },
        answers: ok('The revisions that the server lacks.'),
        handle: async (call) => ({
          status: 200,
          body: await revsDiff(stored, await databaseOf(call), new Map(Object.entries(call.body))),
        }),
      }),
    ]
  }

  function stubOperations(): Operation[] {
    const stub = (
      method: 'get' | 'post',
      path: string,
      summary: string,
      status: number,
      bodyOf: (database: CouchDatabase) => Promise<NonNullable<Answer['body']>>,
    ) =>
      operation({
        ...reading,
        id: `${name}${path}`,
        method,
        path: at + path,
        summary,
        answers: { [status]: { description: summary } },
        async handle(call) {
          return { status, body: await bodyOf(await databaseOf(call)) }
        },
      })
    return [
      stub('get', '_security', 'Show who may use a database', 200, async () => ({
        admins: { names: [], roles: [] },
        members: { names: [], roles: [] },
      })),
      stub(
        'get',
        '_revs_limit',
        'Show how many ancestors are kept',
        200,
        async ({ revsLimit }) => `${revsLimit}\n`,
      ),
      stub('post', '_compact', 'Forget what is not needed', 202, async (database) => {
        await database.compact()
        return { ok: true }
      }),
      stub(
        'post',
        '_ensure_full_commit',
        'Do nothing: what is stored is committed',
        201,
        async () => ({
          ok: true,
          instance_start_time: '0',
        }),
      ),
    ]
  }

  function localOperations(): Operation[] {
    const path = `${at}_local/{id}/`
    return [
      operation({
        ...reading,
        id: `${name}_get_local`,
        method: 'get',
        path,
        summary: 'Get a checkpoint',
        answers: ok('The checkpoint.'),
        async handle(call) {
          const body = await getLocal(stored.revisions, await databaseOf(call), call.params.id!)
          return { status: 200, body }
        },
      }),
      operation({
        ...reading,
        id: `${name}_put_local`,
        method: 'put',
        path,
        writes: true,
        summary: 'Store a checkpoint',
        body: { name: 'CouchLocal', schema: anyObject, examples: {} },
        answers: { 201: { description: 'The checkpoint was stored.' } },
        async handle(call) {
          const database = await databaseOf(call)
          const body = await putLocal(stored.revisions, database, call.params.id!, call.body)
          return { status: 201, body }
        },
      }),
      operation({
        ...reading,
        id: `${name}_delete_local`,
        method: 'delete',
        path,
        query: [text('rev', 'Its revision.')],
        summary: 'Delete a checkpoint',
        answers: ok('The checkpoint was deleted.'),
        async handle(call) {
          const gone = { _rev: call.query.rev, _deleted: true }
          const database = await databaseOf(call)
          await getLocal(stored.revisions, database, call.params.id!)
          return {
            status: 200,
            body: await putLocal(stored.revisions, database, call.params.id!, gone),
          }
        },
      }),
    ]
  }

  function documentOperations(
    own: string,
    path: string,
    idOf: (call: Pick<Call, 'params'>) => string,
  ): Operation[] {
    return [
      operation({
        ...reading,
        id: `${name}_get_${own}`,
        method: 'get',
        path,
        compressed: true,
        query: [
          text('rev', 'A revision.'),
          text('open_revs', 'Revisions as JSON, or `all` for all leaves.'),
          boolean('latest', 'Whether to send the newest that follow.'),
          boolean('revs', 'Whether to send its ancestors.'),
          boolean('revs_info', 'Whether to say which ancestors are available.'),
          boolean('conflicts', 'Whether to name conflicts.'),
          boolean('deleted_conflicts', 'Whether to name deleted leaves.'),
          boolean('local_seq', 'Whether to say its place in the feed.'),
        ],
        summary: `Get a ${own}`,
        answers: ok('The document.'),
        async handle(call) {
          const database = await databaseOf(call)
          const { open_revs, ...query } = call.query as GetQuery
          const id = idOf(call)
          if (open_revs !== undefined) {
            const wanted = open_revs === 'all' ? 'all' : revsOf(open_revs)
            const rows = await openRevisions(stored, database, id, wanted, query)
            return { status: 200, body: `[${rows.join(',\n')}]\n` }
          }
          const options = {
            ...query,
            revsInfo: query.revs_info === true,
            deletedConflicts: query.deleted_conflicts === true,
            localSeq: query.local_seq === true,
          }
          const { text, rev } = await getDocument(stored, database, id, options)
          return { status: 200, headers: { ETag: JSON.stringify(rev) }, body: text }
        },
      }),
      operation({
        ...writing,
        id: `${name}_put_${own}`,
        method: 'put',
        path,
        writes: true,
        query: [
          text('rev', 'The revision that it follows.'),
          boolean('new_edits', 'False if it has its own revision.'),
        ],
        summary: `Store a ${own}`,
        body: { name: 'CouchDocument', schema: anyObject, examples: {} },
        answers: { 201: { description: 'The document was stored.' } },
        async handle(call) {
          const database = await databaseOf(call)
          const rev = revGiven(call as unknown as Call) ?? call.body._rev
          const document = {
            ...call.body,
            _id: idOf(call),
            ...(rev !== undefined && { _rev: rev }),
          }
          return writeOne(database, document, call.query.new_edits === false, 201)
        },
      }),
      operation({
        ...writing,
        id: `${name}_delete_${own}`,
        method: 'delete',
        path,
        writes: true,
        query: [text('rev', 'The revision that is deleted.')],
        summary: `Delete a ${own}`,
        answers: ok('The document was deleted.'),
        async handle(call) {
          const database = await databaseOf(call)
          const id = idOf(call)
          const rev = revGiven(call)
          // What is not there cannot be deleted.
          if (rev === undefined) await getDocument(stored, database, id)
          const document = { _id: id, _deleted: true, ...(rev !== undefined && { _rev: rev }) }
          const [row] = await storeAll(database, [document], false)
          if ('refusal' in row! && row.refusal.error === 'conflict')
            await getDocument(stored, database, id)
          return answerOf(row!, 200)
        },
      }),
    ]
  }

  async function writeOne(
    database: CouchDatabase,
    document: object,
    isReplicated: boolean,
    status: number,
  ): Promise<Answer> {
    const [row] = await storeAll(database, [document], isReplicated)
    return answerOf(row!, status)
  }

  /** Checkpoints may come with documents. */
  async function storeAll(
    database: CouchDatabase,
    documents: readonly unknown[],
    isReplicated: boolean,
  ): Promise<Row[]> {
    const ids = documents.map(localIdOf)
    const others = documents.filter((_, nth) => ids[nth] === undefined)
    const written = await write(stored, database, others, isReplicated)
    const rows: Row[] = []
    for (const [nth, id] of ids.entries())
      rows.push(
        id === undefined ? written.shift()! : await storeLocal(database, id, documents[nth]),
      )
    return rows
  }

  async function storeLocal(database: CouchDatabase, id: string, document: unknown): Promise<Row> {
    try {
      return await putLocal(stored.revisions, database, id, document as Record<string, unknown>)
    } catch (refusal) {
      if (refusal instanceof Refusal) return { id: LOCAL + id, refusal }
      throw refusal
    }
  }
}

const ok = (description: string) => ({ 200: { description } })

const couchError = (status: number, error: string, reason: string): Answer => ({
  status,
  body: { error, reason },
})

/** A document may leave its id to the server. */
function withId(document: unknown): unknown {
  const isNamed = typeof document !== 'object' || document === null || '_id' in document
  return isNamed ? document : { _id: randomUUID().replaceAll('-', ''), ...document }
}

function localIdOf(document: unknown): string | undefined {
  const id = (document as { _id?: unknown } | null)?._id
  return typeof id === 'string' && id.startsWith(LOCAL) ? id.slice(LOCAL.length) : undefined
}

/** @throws Refusal */
function answerOf(row: Row, status: number): Answer {
  if ('refusal' in row) throw row.refusal
  return { status, headers: { ETag: JSON.stringify(row.rev) }, body: row }
}

function rowOnWire(row: Row): object {
  if (!('refusal' in row)) return row
  const { refusal, ...about } = row
  return { ...about, error: refusal.error, reason: refusal.reason }
}

interface GetQuery {
  rev?: string
  open_revs?: string
  latest?: boolean
  revs?: boolean
  revs_info?: boolean
  conflicts?: boolean
  deleted_conflicts?: boolean
  local_seq?: boolean
}

/** @throws Refusal */
function revsOf(text: string): string[] {
  try {
    const revs = JSON.parse(text)
    if (Array.isArray(revs) && revs.every((one) => typeof one === 'string')) return revs
  } catch {}
  throw badRequest('`open_revs` is `all` or a list of revisions as JSON.')
}

/** From the URL, or from If-Match. */
function revGiven({ query, request }: Call): string | undefined {
  const header = request.headers['if-match']
  return (query.rev as string | undefined) ?? header?.replace(/^"(.*)"$/, '$1')
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
