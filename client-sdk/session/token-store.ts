import { createRevision, fillWithDefaultSettings, randomToken } from 'rxdb'
import type { Storage } from '../local/storage.ts'
import type { ClockOffset } from '../runtime/clock.ts'

export interface User {
  id: string
  username: string
}

export interface StoredSession {
  user: User
  access: string
  refresh: string
  /** In milliseconds of this device's clock. */
  expires_at: number
  /** The server has ended it. Local data is kept until the next sign-in. */
  ended: boolean
}

export interface TokenStore {
  read(): Promise<StoredSession | undefined>
  /** @param mark that of this device for the user of the session */
  write(session: StoredSession, mark?: string): Promise<void>
  /** The marks of this device, by user. They outlive sign-outs. */
  marks(): Promise<readonly string[]>
  /**
   * Removes the session, and remembers to notify the server.
   *
   * @param wipe the user whose documents must be deleted, also after an interruption
   */
  forget(wipe?: string): Promise<void>
  /** The users whose documents must be deleted. */
  wiping(): Promise<readonly string[]>
  /** Their documents are deleted. */
  wiped(user: string): Promise<void>
  /** The refresh tokens of removed sessions, to notify the server. */
  forgotten(): Promise<readonly string[]>
  /** The server was notified. */
  notified(refresh: string): Promise<void>
  /** The last known offset of the device's clock, available before sign-in. */
  clock(): Promise<ClockOffset | undefined>
  keepClock(offset: ClockOffset): Promise<void>
  close(): Promise<void>
}

interface Kept {
  session?: StoredSession
  forgotten?: readonly string[]
  wiping?: readonly string[]
  clock?: ClockOffset
  marks?: Readonly<Record<string, string>>
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
    marks: { type: 'object', additionalProperties: true },
  },
})

/**
 * Stores the session of this device in the same storage as the tasks. It is read from the storage every
 * time: a frozen tab must not use its old refresh token, because reusing an old one ends the session.
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
    write: (session, mark) =>
      change(({ marks = {}, ...kept }) => ({
        ...kept,
        session,
        marks: mark === undefined ? marks : withMark(marks, session.user.id, mark),
      })),
    marks: async () => Object.values((await find())?.marks ?? {}),
    forget: (wipe) =>
      change(({ session, forgotten = [], wiping = [], ...kept }) => ({
        ...kept,
        wiping: wipe === undefined || wiping.includes(wipe) ? wiping : [...wiping, wipe],
        forgotten: session && !session.ended ? [...forgotten, session.refresh] : forgotten,
      })),
    forgotten: async () => (await find())?.forgotten ?? [],
    notified: (refresh) =>
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

  /** Tabs can write at the same time: the later one reads again. */
  async function change(edit: (kept: Kept) => Kept): Promise<void> {
    for (let conflicts = 1; conflicts > 0; ) {
      const previous = await find()
      const { session, forgotten, wiping, clock, marks } = previous ?? {}
      const document = {
        id: ID,
        ...edit({
          ...(session && { session }),
          ...(forgotten && { forgotten }),
          ...(wiping && { wiping }),
          ...(clock && { clock }),
          ...(marks && { marks }),
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

/** Few people share a device; the one who has not signed in for longest is forgotten. */
const MAX_MARKS = 5

function withMark(marks: Readonly<Record<string, string>>, user: string, mark: string) {
  const others = Object.entries(marks).filter(([id]) => id !== user)
  return Object.fromEntries([...others, [user, mark]].slice(-MAX_MARKS))
}
