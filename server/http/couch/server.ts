import { type CouchDatabase, seqText } from '../../couch/database.ts'
import { missing, Refusal } from '../../couch/refusal.ts'
import { type Answer, type Operation, operation } from '../operation.ts'
import { type CouchDependencies, databaseOf, pathOf, READING, WRITING } from './context.ts'
import { fixedDatabases, requireDatabase } from './databases.ts'
import {
  created,
  DATABASE,
  DONE,
  FULLY_COMMITTED,
  ok,
  REVS_LIMIT,
  SECURITY,
  SERVER,
  SESSION,
} from './forms.ts'

/** The server and its databases. */
export function serverOperations(own: CouchDependencies): Operation[] {
  return [
    operation({
      ...READING,
      id: `${own.name}_server`,
      method: 'get',
      path: own.prefix,
      summary: 'Describe the CouchDB server',
      description: 'Clients derive the ids of their checkpoints from its `uuid`.',
      problems: [],
      answers: ok('The server. Each user sees another `uuid`.', SERVER),
      handle: async (call) => ({
        status: 200,
        body: {
          couchdb: 'Welcome',
          uuid: await own.databases.uuid(call),
          version: '3.5.0',
          vendor: { name: 'Tasktide', version: own.version },
        },
      }),
    }),
    operation({
      ...READING,
      id: `${own.name}_session`,
      method: 'get',
      path: `${own.prefix}_session`,
      summary: 'Show who is signed in to the CouchDB server',
      description: '`name` is the username, also after signing in with the email address.',
      problems: [],
      answers: ok('The user.', SESSION),
      async handle(call) {
        const userCtx = { name: await own.databases.usernameOf(call), roles: [] }
        return { status: 200, body: { ok: true, userCtx, info: { authenticated: 'default' } } }
      },
    }),
    operation({
      ...READING,
      id: `${own.name}_database`,
      method: 'get',
      path: pathOf(own),
      summary: 'Describe a database',
      description: 'The number of its documents, and the current sequence number of its changes.',
      answers: ok('The database.', DATABASE),
      async handle(call) {
        const database = await databaseOf(own, call)
        await database.reviseFeed(0, Number.POSITIVE_INFINITY)
        const [{ seq, epoch }, { live, deleted }] = await Promise.all([
          database.head(),
          own.stored.revisions.count(database.user, database.types),
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
      ...WRITING,
      id: `${own.name}_create_database`,
      method: 'put',
      path: pathOf(own),
      summary: 'Create a database',
      description:
        'Always refused, because the databases already exist. CouchDB clients send this before they replicate.',
      answers: own.databases.create ? created('The database was created.', DONE) : {},
      problems: ['precondition_failed'],
      async handle(call) {
        if (own.databases.create && (await own.databases.create(call.params.database!)))
          return { status: 201, body: { ok: true } }
        if (!(await own.databases.find(call, call.params.database!))) throw fixedDatabases()
        throw new Refusal(
          412,
          'file_exists',
          'The database could not be created, the file already exists.',
        )
      },
    }),
    dropOperation(own),
    ...stubOperations(own),
  ]
}

function dropOperation(own: CouchDependencies): Operation {
  return operation({
    ...WRITING,
    id: `${own.name}_delete_database`,
    method: 'delete',
    path: pathOf(own),
    summary: 'Delete a database',
    description: 'Always refused: the databases are fixed.',
    problems: ['not_found'],
    answers: own.databases.drop ? ok('The database was deleted.', DONE) : {},
    async handle(call) {
      if (!own.databases.drop) {
        await requireDatabase(own.databases, call)
        throw fixedDatabases()
      }
      if (!(await own.databases.drop(call.params.database!)))
        throw missing('Database does not exist.')
      return { status: 200, body: { ok: true } }
    },
  })
}

function stubOperations(own: CouchDependencies): Operation[] {
  const stub = (
    method: 'get' | 'post',
    path: string,
    summary: string,
    description: string,
    answers: Operation['answers'],
    bodyOf: (database: CouchDatabase) => Promise<NonNullable<Answer['body']>>,
  ) =>
    operation({
      ...READING,
      id: `${own.name}${path}`,
      method,
      path: pathOf(own) + path,
      summary,
      description,
      answers,
      async handle(call) {
        const [status] = Object.keys(answers).map(Number)
        return { status: status!, body: await bodyOf(await databaseOf(own, call)) }
      },
    })
  return [
    stub(
      'get',
      '_security',
      'Get the members of a database',
      'Always empty: only its owner can use a database.',
      ok('The members.', SECURITY),
      async () => ({
        admins: { names: [], roles: [] },
        members: { names: [], roles: [] },
      }),
    ),
    stub(
      'get',
      '_revs_limit',
      'Get the revision limit',
      'The number of ancestors that the server keeps of a revision. It deletes their content earlier.',
      ok('The number.', REVS_LIMIT),
      async ({ revsLimit }) => `${revsLimit}\n`,
    ),
    stub(
      'post',
      '_compact',
      'Compact a database',
      'The server also does this automatically.',
      { 202: { description: 'Done.', ...DONE } },
      async (database) => {
        await database.compact()
        return { ok: true }
      },
    ),
    stub(
      'post',
      '_ensure_full_commit',
      'Confirm that writes are committed',
      'Does nothing: every stored document is already on disk.',
      created('Done.', FULLY_COMMITTED),
      async () => ({
        ok: true,
        instance_start_time: '0',
      }),
    ),
  ]
}
