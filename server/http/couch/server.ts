import { type CouchDatabase, seqText } from '../../couch/database.ts'
import { missing, Refusal } from '../../couch/refusal.ts'
import { type Answer, type Operation, operation } from '../operation.ts'
import { type CouchDependencies, databaseOf, ok, pathOf, READING, WRITING } from './context.ts'
import { fixedDatabases } from './databases.ts'

/** The server and its databases. */
export function serverOperations(own: CouchDependencies): Operation[] {
  return [
    operation({
      ...READING,
      id: `${own.name}_server`,
      method: 'get',
      path: own.prefix,
      summary: 'Describe the CouchDB server',
      answers: ok('The server, with an id of its own for each user.'),
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
      answers: ok('The user.'),
      handle: async ({ user }) => ({
        status: 200,
        body: { ok: true, userCtx: { name: user, roles: [] }, info: { authenticated: 'default' } },
      }),
    }),
    operation({
      ...READING,
      id: `${own.name}_database`,
      method: 'get',
      path: pathOf(own),
      summary: 'Describe a database',
      answers: ok('The database.'),
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
      description: 'Databases exist already: 412.',
      answers: { 201: { description: 'The database was created.' } },
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
    operation({
      ...WRITING,
      id: `${own.name}_delete_database`,
      method: 'delete',
      path: pathOf(own),
      summary: 'Delete a database',
      answers: ok('The database was deleted.'),
      async handle(call) {
        await databaseOf(own, call)
        if (!own.databases.drop) throw fixedDatabases()
        if (!(await own.databases.drop(call.params.database!)))
          throw missing('Database does not exist.')
        return { status: 200, body: { ok: true } }
      },
    }),
    ...stubOperations(own),
  ]
}

function stubOperations(own: CouchDependencies): Operation[] {
  const stub = (
    method: 'get' | 'post',
    path: string,
    summary: string,
    status: number,
    bodyOf: (database: CouchDatabase) => Promise<NonNullable<Answer['body']>>,
  ) =>
    operation({
      ...READING,
      id: `${own.name}${path}`,
      method,
      path: pathOf(own) + path,
      summary,
      answers: { [status]: { description: summary } },
      async handle(call) {
        return { status, body: await bodyOf(await databaseOf(own, call)) }
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
