/** The forms of bodies and answers, as the OpenAPI document has them, with examples. */
import * as z from 'zod'
import { resources } from '../../../protocol/index.ts'
import type { AnswerDescription, Body } from '../operation.ts'

type Form = Pick<AnswerDescription, 'name' | 'schema' | 'parts' | 'example' | 'headers'>

export const ok = (description: string, form: Form) => ({ 200: { description, ...form } })
export const created = (description: string, form: Form) => ({ 201: { description, ...form } })

const ID = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'
const HASH = '967a00dff5e02add41819138abb3284d'
const REV = `1-${HASH}`
const NEXT = '2-7051cbe5c8faecd085a3fa619e6e6337'
const SEQ = '12-8a5edab2'
const CHECKPOINT = 'b3BlcmF0aW9uIG9mIGEgcGhvbmU'
const { id: _, ...content } = resources.tasks.example as Record<string, unknown>
const saved = { _id: ID, _rev: REV, ...content }

const rev = z.string().describe('The length of its history, a hyphen, and a hash.')
const seq = z.string().describe('A position in the feed of changes.')
const done = z.literal(true)

const document = z
  .looseObject({
    _id: z.string(),
    _rev: rev,
    _deleted: done.optional(),
    _conflicts: z.array(rev).optional(),
    _deleted_conflicts: z.array(rev).optional(),
    _revisions: z.looseObject({ start: z.int(), ids: z.array(z.string()) }).optional(),
    _revs_info: z.array(z.looseObject({ rev, status: z.string() })).optional(),
    _local_seq: seq.optional(),
  })
  .describe('A document: its own fields, and those of CouchDB, which begin with an underscore.')
const found = z.strictObject({ ok: document })
const lacking = z.strictObject({ missing: rev })

export const SERVER: Form = {
  name: 'CouchServer',
  schema: z.strictObject({
    couchdb: z.literal('Welcome'),
    uuid: z.string().describe('Differs for each user, and changes after a restore from a backup.'),
    version: z.string().describe('The version of CouchDB whose protocol the server implements.'),
    vendor: z.strictObject({ name: z.string(), version: z.string() }),
  }),
  example: {
    couchdb: 'Welcome',
    uuid: '85fb71bf700c17267fef77535820e371',
    version: '3.5.0',
    vendor: { name: 'Tasktide', version: '0.1.0' },
  },
}

export const SESSION: Form = {
  name: 'CouchSession',
  schema: z.strictObject({
    ok: done,
    userCtx: z.strictObject({ name: z.string(), roles: z.array(z.string()) }),
    info: z.strictObject({ authenticated: z.string() }),
  }),
  example: { ok: true, userCtx: { name: 'ann', roles: [] }, info: { authenticated: 'default' } },
}

export const DATABASE: Form = {
  name: 'CouchDatabase',
  schema: z.strictObject({
    db_name: z.string(),
    doc_count: z.int(),
    doc_del_count: z.int(),
    update_seq: seq,
    purge_seq: z.int(),
    compact_running: z.boolean(),
    instance_start_time: z.string(),
  }),
  example: {
    db_name: 'tasks',
    doc_count: 3,
    doc_del_count: 1,
    update_seq: SEQ,
    purge_seq: 0,
    compact_running: false,
    instance_start_time: '0',
  },
}

export const DONE: Form = {
  name: 'CouchDone',
  schema: z.strictObject({ ok: done }),
  example: { ok: true },
}

export const FULLY_COMMITTED: Form = {
  name: 'CouchCommitted',
  schema: z.strictObject({ ok: done, instance_start_time: z.string() }),
  example: { ok: true, instance_start_time: '0' },
}

const members = z.strictObject({ names: z.array(z.string()), roles: z.array(z.string()) })

export const SECURITY: Form = {
  name: 'CouchSecurity',
  schema: z.strictObject({ admins: members, members }),
  example: { admins: { names: [], roles: [] }, members: { names: [], roles: [] } },
}

export const REVS_LIMIT: Form = { name: 'CouchRevsLimit', schema: z.int(), example: 250 }

export const CHANGES: Form = {
  name: 'CouchChanges',
  schema: z.strictObject({
    results: z.array(
      z.strictObject({
        seq,
        id: z.string(),
        changes: z.array(z.strictObject({ rev })),
        deleted: done.optional(),
        doc: document.optional(),
      }),
    ),
    last_seq: seq,
  }),
  example: { results: [{ seq: SEQ, id: ID, changes: [{ rev: REV }] }], last_seq: SEQ },
}

export const ROWS: Form = {
  name: 'CouchRows',
  schema: z.strictObject({
    total_rows: z.int(),
    offset: z.int().nullable(),
    update_seq: seq.optional(),
    rows: z.array(
      z.strictObject({
        id: z.string().optional(),
        key: z.unknown(),
        value: z.strictObject({ rev, deleted: done.optional() }).optional(),
        doc: document.nullable().optional(),
        error: z.string().optional(),
      }),
    ),
  }),
  example: { total_rows: 1, offset: 0, rows: [{ id: ID, key: ID, value: { rev: REV } }] },
}

export const DOCUMENT: Form = {
  name: 'CouchRevision',
  schema: z.union([document, z.array(z.union([found, lacking]))]),
  parts: { CouchStoredDocument: document },
  example: saved,
}

export const DOCUMENTS: Form = {
  name: 'CouchRevisions',
  schema: z.strictObject({
    results: z.array(
      z.strictObject({
        id: z.string(),
        docs: z.array(
          z.union([
            found,
            z.strictObject({
              error: z.strictObject({
                id: z.string(),
                rev: z.string(),
                error: z.string(),
                reason: z.string(),
              }),
            }),
          ]),
        ),
      }),
    ),
  }),
  example: { results: [{ id: ID, docs: [{ ok: saved }] }] },
}

export const MISSING: Form = {
  name: 'CouchMissing',
  schema: z.record(
    z.string(),
    z.strictObject({ missing: z.array(z.string()), possible_ancestors: z.array(rev).optional() }),
  ),
  example: { [ID]: { missing: [NEXT], possible_ancestors: [REV] } },
}

const written = z.strictObject({ ok: done, id: z.string(), rev })

export const WRITTEN: Form = {
  name: 'CouchWritten',
  schema: written,
  example: { ok: true, id: ID, rev: NEXT },
  headers: ['ETag'],
}

/** Of a checkpoint. */
export const WRITTEN_LOCAL: Form = {
  name: 'CouchWritten',
  schema: written,
  example: { ok: true, id: `_local/${CHECKPOINT}`, rev: '0-1' },
}

export const WRITTEN_ROWS: Form = {
  name: 'CouchWrittenRows',
  schema: z.array(
    z.strictObject({
      ok: done.optional(),
      id: z.string().optional(),
      rev: z.string().optional(),
      error: z.string().optional(),
      reason: z.string().optional(),
    }),
  ),
  example: [
    { ok: true, id: ID, rev: REV },
    { id: ID, error: 'conflict', reason: 'Document update conflict.' },
  ],
}

const checkpoint = { last_seq: SEQ, session_id: 'F4B5A2C1', version: 1, replicator: 'pouchdb' }

export const LOCAL: Form = {
  name: 'CouchCheckpoint',
  schema: z.looseObject({ _id: z.string(), _rev: z.string() }),
  example: { _id: `_local/${CHECKPOINT}`, _rev: '0-1', ...checkpoint },
}

const draft = z.looseObject({})

/** A document that is new. */
export const DRAFT = {
  name: 'CouchDocument',
  schema: draft,
  examples: { 'a task': content },
} satisfies Body

/** A document that follows a revision. */
export const CHANGE = {
  name: 'CouchDocument',
  schema: draft,
  examples: { 'a task': { _rev: REV, ...content } },
} satisfies Body

export const LOCAL_DRAFT = {
  name: 'CouchCheckpointDraft',
  schema: z.looseObject({}),
  examples: { 'of PouchDB': checkpoint },
} satisfies Body

export const FILTER = {
  name: 'CouchFilter',
  schema: z.looseObject({}),
  examples: {
    'by id': { doc_ids: [ID] },
    'by content': { selector: { completed: false } },
  },
} satisfies Body

const flag = z.boolean().optional()
const count = z.int().min(0).optional()

export const KEYS = {
  name: 'CouchKeys',
  schema: z.looseObject({
    inclusive_end: flag,
    descending: flag,
    skip: count,
    limit: count,
    include_docs: flag,
    conflicts: flag,
    update_seq: flag,
  }),
  examples: { 'two documents': { keys: [ID, '0190a5c2-7a4e-7cc3-98c4-dc0c0c073990'] } },
} satisfies Body

export const BULK_DOCS = {
  name: 'CouchBulkDocs',
  schema: z.looseObject({
    docs: z.array(z.unknown(), { error: "Missing JSON list of 'docs'" }),
    new_edits: z.boolean().optional(),
  }),
  examples: {
    'new documents': { docs: [{ _id: ID, ...content }] },
    'from a replica': {
      docs: [{ ...saved, _revisions: { start: 1, ids: [HASH] } }],
      new_edits: false,
    },
  },
} satisfies Body

export const BULK_GET = {
  name: 'CouchBulkGet',
  schema: z.looseObject({
    docs: z.array(z.looseObject({ id: z.string(), rev: z.string().optional() })),
  }),
  examples: { 'one revision': { docs: [{ id: ID, rev: REV }] } },
} satisfies Body

export const REVISIONS = {
  name: 'CouchRevisionsById',
  schema: z.record(z.string(), z.array(z.string())),
  examples: { 'two revisions': { [ID]: [REV, NEXT] } },
} satisfies Body
