import { createRevision, fillWithDefaultSettings, type RxDatabaseCreator, randomToken } from 'rxdb'

/** Any of RxDB's storages. */
export type Storage = RxDatabaseCreator['storage']

export interface User {
  id: string
  /** As it was typed at sign-in: a username or an email address. */
  username: string
}

export interface StoredSession {
  user: User
  access: string
  refresh: string
  /** On this device's clock, in milliseconds. */
  expires_at: number
  /** The server has ended it. What is on the device stays, until somebody signs in. */
  ended: boolean
}

export interface TokenStore {
  read(): Promise<StoredSession | undefined>
  write(session: StoredSession | undefined): Promise<void>
  close(): Promise<void>
}

const ID = 'session'

const SCHEMA = fillWithDefaultSettings<{ id: string; session?: StoredSession }>({
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: {
    id: { type: 'string', maxLength: 20 },
    session: { type: 'object', additionalProperties: true },
  },
})

/**
 * The session of this device, in the storage that the tasks are in. It is read from the storage
 * itself each time: a tab that has slept must not use the refresh token that it remembers, since one
 * that was renewed twice ends the session.
 */
export async function openTokenStore(storage: Storage, name: string): Promise<TokenStore> {
  const token = randomToken(10)
  const instance = await storage.createStorageInstance<{ id: string; session?: StoredSession }>({
    databaseInstanceToken: token,
    databaseName: `${name}-session`,
    collectionName: 'session',
    schema: SCHEMA,
    options: {},
    multiInstance: false,
    devMode: false,
  })
  const find = async () => (await instance.findDocumentsById([ID], false))[0]
  return {
    read: async () => (await find())?.session,
    async write(session) {
      // Tabs may write at once; the last one counts.
      for (let conflicts = 1; conflicts > 0; ) {
        const previous = await find()
        const document = {
          id: ID,
          ...(session && { session }),
          _deleted: false,
          _attachments: {},
          _meta: { lwt: Date.now() },
          _rev: createRevision(token, previous),
        }
        const written = await instance.bulkWrite([{ ...(previous && { previous }), document }], ID)
        conflicts = written.error.length
      }
    },
    close: () => instance.close(),
  }
}
