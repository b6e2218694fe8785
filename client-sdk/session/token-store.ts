import { createRevision, fillWithDefaultSettings, randomToken } from 'rxdb'
import type { Storage } from '../local/storage.ts'
import type { Reading } from '../runtime/clock.ts'

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
  write(session: StoredSession): Promise<void>
  /**
   * Nobody is signed in here any more. The server has yet to be told, if it does not know.
   *
   * @param wipe whose documents are to be deleted, however often that is interrupted
   */
  forget(wipe?: string): Promise<void>
  /** The people whose documents are to be deleted. */
  wiping(): Promise<readonly string[]>
  /** They are. */
  wiped(user: string): Promise<void>
  /** The refresh tokens of forgotten sessions, for telling the server that they are over. */
  forgotten(): Promise<readonly string[]>
  /** The server knows. */
  told(refresh: string): Promise<void>
  /** How far the clock of the device is off, as it was last learned: known before anybody signs in. */
  clock(): Promise<Reading | undefined>
  keepClock(reading: Reading): Promise<void>
  close(): Promise<void>
}

interface Kept {
  session?: StoredSession
  forgotten?: readonly string[]
  wiping?: readonly string[]
  clock?: Reading
}

const ID = 'session'

const SCHEMA = fillWithDefaultSettings<Kept & { id: string }>({
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: {
    id: { type: 'string', maxLength: 20 },
    session: { type: 'object', additionalProperties: true },
    forgotten: { type: 'array', items: { type: 'string' } },
    wiping: { type: 'array', items: { type: 'string' } },
    clock: { type: 'object', additionalProperties: true },
  },
})

/**
 * The session of this device, in the storage that the tasks are in. It is read from the storage
 * itself each time: a tab that has slept must not use the refresh token that it remembers, since one
 * that was renewed twice ends the session.
 */
export async function openTokenStore(storage: Storage, name: string): Promise<TokenStore> {
  const token = randomToken(10)
  const instance = await storage.createStorageInstance<Kept & { id: string }>({
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
    write: (session) => change((kept) => ({ ...kept, session })),
    forget: (wipe) =>
      change(({ session, forgotten = [], wiping = [], ...kept }) => ({
        ...kept,
        wiping: wipe === undefined || wiping.includes(wipe) ? wiping : [...wiping, wipe],
        forgotten: session && !session.ended ? [...forgotten, session.refresh] : forgotten,
      })),
    forgotten: async () => (await find())?.forgotten ?? [],
    told: (refresh) =>
      change(({ forgotten = [], ...kept }) => ({
        ...kept,
        forgotten: forgotten.filter((one) => one !== refresh),
      })),
    wiping: async () => (await find())?.wiping ?? [],
    wiped: (user) =>
      change(({ wiping = [], ...kept }) => ({
        ...kept,
        wiping: wiping.filter((one) => one !== user),
      })),
    clock: async () => (await find())?.clock,
    keepClock: (clock) => change((kept) => ({ ...kept, clock })),
    close: () => instance.close(),
  }

  /** Tabs may write at once: whoever is late looks again. */
  async function change(edit: (kept: Kept) => Kept): Promise<void> {
    for (let conflicts = 1; conflicts > 0; ) {
      const previous = await find()
      const { session, forgotten, wiping, clock } = previous ?? {}
      const document = {
        id: ID,
        ...edit({
          ...(session && { session }),
          ...(forgotten && { forgotten }),
          ...(wiping && { wiping }),
          ...(clock && { clock }),
        }),
        _deleted: false,
        _attachments: {},
        _meta: { lwt: Date.now() },
        _rev: createRevision(token, previous),
      }
      const written = await instance.bulkWrite([{ ...(previous && { previous }), document }], ID)
      conflicts = written.error.length
    }
  }
}
