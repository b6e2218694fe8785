import type { CouchDatabase } from '../../couch/database.ts'
import { getLocal, putLocal } from '../../couch/locals.ts'
import { getDocument, openRevisions } from '../../couch/read.ts'
import { badRequest } from '../../couch/refusal.ts'
import type { Row } from '../../couch/write.ts'
import { type Answer, type Call, type Operation, operation } from '../operation.ts'
import { storeAll, withId } from './batches.ts'
import { type CouchDependencies, databaseOf, pathOf, READING, WRITING } from './context.ts'
import {
  CHANGE,
  created,
  DOCUMENT,
  DRAFT,
  LOCAL,
  LOCAL_DRAFT,
  ok,
  WRITTEN,
  WRITTEN_LOCAL,
} from './forms.ts'
import { boolean, text } from './parameters.ts'

/** Single documents, those of designs, and checkpoints. */
export function singleOperations(own: CouchDependencies): Operation[] {
  const at = pathOf(own)
  return [
    operation({
      ...WRITING,
      id: `${own.name}_create_document`,
      method: 'post',
      path: pathOf(own),
      writes: true,
      summary: 'Create a document',
      description:
        'Without `_id`, the server generates a UUID. That works only in the databases of one resource, not in `all`.',
      body: DRAFT,
      answers: created('The document was stored.', WRITTEN),
      async handle(call) {
        return writeOne(own, await databaseOf(own, call), withId(call.body) as object, false, 201)
      },
    }),
    ...documentOperations(own, 'document', `${at}{id}/`, ({ params }) => params.id!),
    ...(own.databases.hasDesigns ? designOperations(own) : []),
    ...localOperations(own),
  ]
}

const designOperations = (own: CouchDependencies) =>
  documentOperations(
    own,
    'design',
    `${pathOf(own)}_design/{id}/`,
    ({ params }) => `_design/${params.id}`,
  )

function documentOperations(
  own: CouchDependencies,
  kind: string,
  path: string,
  idOf: (call: Pick<Call, 'params'>) => string,
): Operation[] {
  return [
    operation({
      ...READING,
      id: `${own.name}_get_${kind}`,
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
      summary: `Get a ${kind}`,
      description:
        'If the document has several leaf revisions, every replica computes the same winner.',
      answers: ok('The document; with `open_revs`, a list.', DOCUMENT),
      async handle(call) {
        const database = await databaseOf(own, call)
        const { open_revs, ...query } = call.query as GetQuery
        const id = idOf(call)
        if (open_revs !== undefined) {
          const wanted = open_revs === 'all' ? 'all' : revsOf(open_revs)
          const rows = await openRevisions(own.stored, database, id, wanted, query)
          return { status: 200, body: `[${rows.join(',\n')}]\n` }
        }
        const options = {
          ...query,
          revsInfo: query.revs_info === true,
          deletedConflicts: query.deleted_conflicts === true,
          localSeq: query.local_seq === true,
        }
        const { text, rev } = await getDocument(own.stored, database, id, options)
        return { status: 200, headers: { ETag: JSON.stringify(rev) }, body: text }
      },
    }),
    operation({
      ...WRITING,
      id: `${own.name}_put_${kind}`,
      method: 'put',
      path,
      writes: true,
      query: [
        text('rev', 'The revision that it follows.'),
        boolean('new_edits', 'False if it has its own revision.'),
      ],
      summary: `Store a ${kind}`,
      description:
        '`_rev` is the parent revision; omit it for a new document. The server corrects invalid values in a child revision.',
      body: CHANGE,
      answers: created('The document was stored.', WRITTEN),
      async handle(call) {
        const database = await databaseOf(own, call)
        const rev = revGiven(call as unknown as Call, call.body._rev)
        const document = {
          ...call.body,
          _id: idOf(call),
          ...(rev !== undefined && { _rev: rev }),
        }
        return writeOne(own, database, document, call.query.new_edits === false, 201)
      },
    }),
    operation({
      ...WRITING,
      id: `${own.name}_delete_${kind}`,
      method: 'delete',
      path,
      writes: true,
      query: [text('rev', 'The revision that is deleted.')],
      summary: `Delete a ${kind}`,
      description: '`rev` or `If-Match` is the revision to delete.',
      answers: ok('The document was deleted.', WRITTEN),
      async handle(call) {
        const database = await databaseOf(own, call)
        const id = idOf(call)
        const rev = revGiven(call)
        // What is not there cannot be deleted.
        if (rev === undefined) await getDocument(own.stored, database, id)
        const document = { _id: id, _deleted: true, ...(rev !== undefined && { _rev: rev }) }
        const [row] = await storeAll(own, database, [document], false)
        if ('refusal' in row! && row.refusal.error === 'conflict')
          await getDocument(own.stored, database, id)
        return answerOf(row!, 200)
      },
    }),
  ]
}

function localOperations(own: CouchDependencies): Operation[] {
  const path = `${pathOf(own)}_local/{id}/`
  const params = {
    ...READING.params,
    id: {
      description: 'The id of the checkpoint, chosen by the client.',
      json: { type: 'string' },
      example: 'b3BlcmF0aW9uIG9mIGEgcGhvbmU',
    },
  }
  return [
    operation({
      ...READING,
      id: `${own.name}_get_local`,
      method: 'get',
      path,
      params,
      summary: 'Get a checkpoint',
      description: 'How far a client has replicated. Checkpoints themselves are not replicated.',
      answers: ok('The checkpoint.', LOCAL),
      async handle(call) {
        const body = await getLocal(
          own.stored.revisions,
          await databaseOf(own, call),
          call.params.id!,
        )
        return { status: 200, body }
      },
    }),
    operation({
      ...READING,
      id: `${own.name}_put_local`,
      method: 'put',
      path,
      params,
      writes: true,
      summary: 'Store a checkpoint',
      description: '`_rev` is the revision that it replaces. Needs no scope for writing documents.',
      problems: ['not_found', 'conflict'],
      body: LOCAL_DRAFT,
      answers: created('The checkpoint was stored.', WRITTEN_LOCAL),
      async handle(call) {
        const database = await databaseOf(own, call)
        const body = await putLocal(own.stored.revisions, database, call.params.id!, call.body)
        return { status: 201, body }
      },
    }),
    operation({
      ...READING,
      id: `${own.name}_delete_local`,
      method: 'delete',
      path,
      params,
      problems: ['not_found', 'conflict'],
      query: [text('rev', 'Its revision.')],
      summary: 'Delete a checkpoint',
      description: 'The client then compares all documents again.',
      answers: ok('The checkpoint was deleted.', WRITTEN_LOCAL),
      async handle(call) {
        const gone = { _rev: call.query.rev, _deleted: true }
        const database = await databaseOf(own, call)
        await getLocal(own.stored.revisions, database, call.params.id!)
        return {
          status: 200,
          body: await putLocal(own.stored.revisions, database, call.params.id!, gone),
        }
      },
    }),
  ]
}

async function writeOne(
  own: Pick<CouchDependencies, 'stored'>,
  database: CouchDatabase,
  document: object,
  isReplicated: boolean,
  status: number,
): Promise<Answer> {
  const [row] = await storeAll(own, database, [document], isReplicated)
  return answerOf(row!, status)
}

/** @throws Refusal */
function answerOf(row: Row, status: number): Answer {
  if ('refusal' in row) throw row.refusal
  return { status, headers: { ETag: JSON.stringify(row.rev) }, body: row }
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

/** From the URL, from If-Match, or from the body. @throws Refusal if they contradict each other */
function revGiven({ query, request }: Call, inBody?: unknown): unknown {
  const header = request.headers['if-match']?.replace(/^"(.*)"$/, '$1')
  const [rev, ...others] = new Set([query.rev, header, inBody].filter((one) => one !== undefined))
  if (others.length === 0) return rev
  throw badRequest(
    'Document rev from request body, query string and If-Match have different values.',
  )
}
