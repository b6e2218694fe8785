import { randomUUID } from 'node:crypto'
import type { CouchDatabase } from '../../couch/database.ts'
import { LOCAL, putLocal } from '../../couch/locals.ts'
import { bulkGet, revsDiff } from '../../couch/read.ts'
import { Refusal } from '../../couch/refusal.ts'
import { type Row, write } from '../../couch/write.ts'
import { type Call, type Operation, operation } from '../operation.ts'
import {
  BULK_BYTES,
  type CouchDependencies,
  databaseOf,
  pathOf,
  READING,
  WRITING,
} from './context.ts'
import {
  BULK_DOCS,
  BULK_GET,
  created,
  DOCUMENTS,
  MISSING,
  ok,
  REVISIONS,
  WRITTEN_ROWS,
} from './forms.ts'
import { boolean } from './parameters.ts'
import { listed } from './parts.ts'

/** What replication needs of many documents at once. */
export function replicationOperations(own: CouchDependencies): Operation[] {
  return [
    operation({
      ...WRITING,
      id: `${own.name}_bulk_docs`,
      method: 'post',
      path: `${pathOf(own)}_bulk_docs`,
      writes: ({ docs }: { docs: readonly unknown[] }) => docs.length,
      maxBodyBytes: BULK_BYTES,
      summary: 'Store documents',
      description:
        'Stores all valid documents in one transaction. With `new_edits: false` the client supplies the revisions, and the response contains only rejected documents.',
      body: BULK_DOCS,
      problems: ['not_found'],
      answers: created('What became of each.', WRITTEN_ROWS),
      async handle(call) {
        const database = await databaseOf(own, call)
        const isReplicated = call.body.new_edits === false
        const { docs } = call.body
        const named = isReplicated ? docs : docs.map(withId)
        const rows = await storeAll(own, database, named, isReplicated, !isReplicated)
        const shown = isReplicated ? rows.filter((row) => 'refusal' in row) : rows
        return { status: 201, body: shown.map(rowOnWire) }
      },
    }),
    operation({
      ...READING,
      id: `${own.name}_bulk_get`,
      method: 'post',
      path: `${pathOf(own)}_bulk_get`,
      compressed: true,
      maxBodyBytes: BULK_BYTES,
      query: [
        boolean('revs', 'Whether to send their ancestors.'),
        boolean('latest', 'Whether to send the newest that follow them.'),
      ],
      summary: 'Get revisions of documents',
      description: 'Without `rev`, all leaf revisions.',
      body: BULK_GET,
      answers: ok('The revisions.', DOCUMENTS),
      async handle(call) {
        const parts = bulkGet(own.stored, await databaseOf(own, call), call.body.docs, call.query)
        return own.inParts(
          call as unknown as Call,
          listed('{"results":[\n', parts, () => '\n]}\n'),
        )
      },
    }),
    operation({
      ...READING,
      id: `${own.name}_revs_diff`,
      method: 'post',
      path: `${pathOf(own)}_revs_diff`,
      compressed: true,
      maxBodyBytes: BULK_BYTES,
      summary: 'Compare revisions',
      description: 'A client sends the revisions that it has, and then uploads the missing ones.',
      body: REVISIONS,
      answers: ok('The revisions that the server lacks.', MISSING),
      handle: async (call) => ({
        status: 200,
        body: await revsDiff(
          own.stored,
          await databaseOf(own, call),
          new Map(Object.entries(call.body)),
        ),
      }),
    }),
  ]
}

/** Checkpoints may come with documents. */
export async function storeAll(
  own: Pick<CouchDependencies, 'stored'>,
  database: CouchDatabase,
  documents: readonly unknown[],
  isReplicated: boolean,
  corrects = false,
): Promise<Row[]> {
  const ids = documents.map(localIdOf)
  const others = documents.filter((_, nth) => ids[nth] === undefined)
  const written = await write(own.stored, database, others, isReplicated, corrects)
  const rows: Row[] = []
  for (const [nth, id] of ids.entries())
    rows.push(
      id === undefined ? written.shift()! : await storeLocal(own, database, id, documents[nth]),
    )
  return rows
}

async function storeLocal(
  own: Pick<CouchDependencies, 'stored'>,
  database: CouchDatabase,
  id: string,
  document: unknown,
): Promise<Row> {
  try {
    return await putLocal(own.stored.revisions, database, id, document as Record<string, unknown>)
  } catch (refusal) {
    if (refusal instanceof Refusal) return { id: LOCAL + id, refusal }
    throw refusal
  }
}

/** A document may leave its id to the server. A UUID may be the id of a task, too. */
export function withId(document: unknown): unknown {
  const isObject = typeof document === 'object' && document !== null && !Array.isArray(document)
  return isObject && !('_id' in document) ? { _id: randomUUID(), ...document } : document
}

function localIdOf(document: unknown): string | undefined {
  const id = (document as { _id?: unknown } | null)?._id
  return typeof id === 'string' && id.startsWith(LOCAL) ? id.slice(LOCAL.length) : undefined
}

function rowOnWire(row: Row): object {
  if (!('refusal' in row)) return row
  const { refusal, ...about } = row
  return { ...about, error: refusal.error, reason: refusal.reason }
}
