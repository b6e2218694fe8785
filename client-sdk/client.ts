import { removeRxDatabase } from 'rxdb'
import { BehaviorSubject, distinctUntilChanged, map, type Observable } from 'rxjs'
import { createSync } from './client-sync.ts'
import type { Collections } from './local/collections.ts'
import type { ResourceName } from './local/documents.ts'
import { shapes } from './local/shapes.ts'
import type { Storage } from './local/storage.ts'
import { databaseName, LocalCopy } from './local-copy.ts'
import { isShaped } from './runtime/answers.ts'
import { createApi, PATIENCE_MS } from './runtime/api.ts'
import { ClientError, signedOut } from './runtime/client-error.ts'
import { Clock } from './runtime/clock.ts'
import { exclusively, mayHaveTabs, timezoneAndLocale } from './runtime/environment.ts'
import type { FactorProof, NewPasskey } from './runtime/factors.ts'
import { type AccountRequests, createAccountRequests } from './session/account-requests.ts'
import { type Credentials, claimsOf, Session } from './session/session.ts'
import { SignOuts } from './session/sign-outs.ts'
import { openTokenStore, type User } from './session/token-store.ts'
import type { Sync } from './sync/sync.ts'
import { Tabs } from './tabs/tabs.ts'

export interface ClientOptions<N extends ResourceName = ResourceName> {
  /** The URL of the server, such as `https://tasks.example.com`. */
  url: string
  /** Any RxDB storage. */
  storage: Storage
  /**
   * The resources that the app uses: others are neither opened nor synced. Default: all. RxDB allows 13 open
   * collections in a process.
   */
  resources?: readonly N[]
  /** Distinguishes several clients on one device. */
  name?: string
  /** Whether other tabs can have the same storage open. Default: true in browsers. */
  multiInstance?: boolean
  /** The polling interval while WebSockets are blocked, in milliseconds. */
  pollInterval?: number
  /** How long a request may make no progress, in milliseconds. Default: one minute. */
  patience?: number
  fetch?: typeof globalThis.fetch
  now?: () => number
}

/** Why the data on this device was deleted. */
export type Notice = 'account_deleted' | 'device_erased'

export interface ClientSession {
  /** The user; also after the server has ended the session, as the documents are still there. */
  readonly user$: Observable<User | null>
  /**
   * Why nobody is signed in, if neither this device nor an ended session is the reason: the account was
   * deleted, here or elsewhere, or this device was erased from another one; and with it the data on this device.
   * Null after the next sign-in.
   */
  readonly notice$: Observable<Notice | null>
  /**
   * Registers an account and signs in.
   *
   * @param account `invite` is the token of an invitation, where only invited people can register
   */
  register(account: Credentials & { email: string; invite?: string }): Promise<User>
  /**
   * @throws ClientError `factor_required` if the account has a second factor: ask for it, as `error.factor`
   *   says, and call `confirmFactor`
   */
  signIn(credentials: Credentials): Promise<User>
  /**
   * Signs in with a second factor, or with a passkey alone.
   *
   * @param username as entered for `signIn`; not needed for a passkey alone
   * @throws ClientError `factor_not_valid`
   */
  confirmFactor(proof: FactorProof, username?: string): Promise<User>
  /** For a sign-in with a passkey alone. */
  passkeyChallenge(): Promise<NewPasskey>
  /**
   * Deletes the documents from this device, unless `keepData` is true. Needs no network: the server ends
   * the session at once, or when it is reachable again.
   *
   * @param options.keepData whether to keep the documents and unsent edits for the next sign-in
   * @throws ClientError `unsent_edits` if there are unsent or rejected edits and `keepData` is not given
   */
  signOut(options?: { keepData?: boolean }): Promise<void>
}

/** Has the collection of each open resource under its name. They belong to the signed-in user. */
export type Client<N extends ResourceName = ResourceName> = Readonly<Pick<Collections, N>> &
  ClientParts

interface ClientParts {
  readonly session: ClientSession
  readonly sync: Sync
  readonly account: AccountRequests
  close(): Promise<void>
}

const POLL_MS = 15_000

/** Opens the local data. Needs no network. */
export async function openClient<N extends ResourceName>(
  options: ClientOptions<N> & Required<Pick<ClientOptions<N>, 'name' | 'resources'>>,
): Promise<Client<N>> {
  const { url, storage, name, resources: names } = options
  const { multiInstance = mayHaveTabs(), now = Date.now } = options
  const clock = new Clock(now)
  const fetch = options.fetch ?? ((...args) => globalThis.fetch(...args))
  const { pollInterval = POLL_MS, patience = PATIENCE_MS } = options
  const api = createApi({
    url,
    fetch,
    clock,
    patience,
    onAccountDeleted: (token) => void onAccountDeleted(token).catch(() => {}),
    onErased: (token) => void onErased(token).catch(() => {}), // the next request or start retries
  })
  const store = await openTokenStore(storage, name)
  clock.restore((await store.clock()) ?? { offset: 0, at: 0 })
  clock.onOffset = (offset) => void store.keepClock(offset).catch(() => {}) // it will be measured again
  const session = new Session(store, api, now, name)
  const signOuts = new SignOuts(store, api, name)
  const server = { api, url, session, clock, pollInterval, patience }
  const copyOptions = { storage, name, multiInstance, now, resources: names, ...server }
  const localCopy$ = new BehaviorSubject<LocalCopy | undefined>(undefined)
  const notice$ = new BehaviorSubject<Notice | null>(null)
  const tabs = new Tabs<'session' | Notice>(`tasktide ${name}`, multiInstance)
  let queue: Promise<unknown> = Promise.resolve()

  await enqueue(follow).catch(async (error) => {
    tabs.close()
    await store.close()
    throw error
  })
  void enqueue(deleteDocuments).catch(() => {}) // the next start retries
  void signOuts.deliver()
  void askAfterEnded()
  tabs.message$.subscribe((message) => {
    notice$.next(message === 'session' ? null : message)
    void enqueue(follow)
  })

  // No resource may have the name of one of these.
  const parts: ClientParts & { [N in ResourceName]?: never } = {
    session: {
      user$: localCopy$.pipe(
        map((copy) => copy?.user ?? null),
        distinctUntilChanged(),
      ),
      notice$,
      async register({ username, email, password, invite }) {
        const isAnswer = isShaped(shapes.account)
        const register = (body: object) => api('/api/register/', { method: 'POST', body, isAnswer })
        const account = { username, email, password, ...(invite !== undefined && { invite }) }
        await register({ ...account, ...timezoneAndLocale() }).catch((error) => {
          // A device may know timezones that the server does not.
          if (!error.errors?.timezone && !error.errors?.locale) throw error
          return register(account)
        })
        return signIn({ username, password })
      },
      signIn,
      confirmFactor: (proof, username) => enter(() => session.confirmFactor(proof, username)),
      passkeyChallenge: () =>
        api('/api/token/passkey/', { method: 'POST', isAnswer: isShaped(shapes.publicKey) }),
      async signOut({ keepData } = {}) {
        await enqueue(() => signOut(keepData))
        await signOuts.deliver()
      },
    },
    sync: createSync(localCopy$),
    account: createAccountRequests(api, localCopy$, onAccountDeleted),
    close: () =>
      enqueue(async () => {
        tabs.close()
        await closeLocalCopy()
        localCopy$.complete()
        await signOuts.close()
        await store.close()
      }),
  }
  for (const name of names)
    Object.defineProperty(parts, name, { get: () => collections()[name], enumerable: true })
  return parts as ClientParts as Client<N>

  function signIn(credentials: Credentials): Promise<User> {
    return enter(() => session.signIn(credentials))
  }

  function enter(open: () => Promise<unknown>): Promise<User> {
    return enqueue(async () => {
      // From the storage: an earlier sign-in may have failed after storing the session.
      const kept = await session.load()
      if (kept && !kept.ended && localCopy$.value)
        throw new ClientError('signed_in', `${kept.user.username} is signed in; sign out first.`)
      await open()
      notice$.next(null)
      await follow()
      tabs.tell('session')
      await localCopy$.value!.pause(false)
      localCopy$.value!.wake()
      return localCopy$.value!.user
    })
  }

  async function signOut(keepData: boolean | undefined): Promise<void> {
    const copy = localCopy$.value
    if (!copy) return
    // No writes between the check for unsent edits and the deletion.
    await copy.writes.stop()
    try {
      if (keepData === undefined) await refuseUnsent(copy)
      await session.forget(keepData ? undefined : copy.user.id).catch(async (error) => {
        // A failed write may have been stored, which means signed out.
        if (await session.load()) throw error
      })
    } catch (error) {
      copy.writes.resume()
      throw error
    }
    tabs.tell('session')
    await closeLocalCopy()
    await deleteDocuments()
  }

  /**
   * Deletes the documents of signed-out users. If interrupted, the rest must not be opened, because it may
   * have a cursor without the documents before it.
   */
  function deleteDocuments(): Promise<void> {
    return exclusively(`${name} deletion`, async () => {
      for (const id of await store.wiping()) {
        await removeRxDatabase(databaseName(name, { id }), storage, multiInstance)
        await store.wiped(id)
      }
    })
  }

  async function refuseUnsent(copy: LocalCopy): Promise<void> {
    const edits = (await copy.unsent()) + (await copy.rejections.all()).length
    if (edits > 0)
      throw new ClientError(
        'unsent_edits',
        `${edits} edits have not been sent. Pass keepData to keep or discard them.`,
      )
  }

  /** Called with a token, of either kind, of a deleted account. */
  function onAccountDeleted(token: string): Promise<void> {
    return enqueue(() => exclusively(`${name} wipe`, () => wipe(claimsOf(token).sub)))
  }

  /** Called with a token, of either kind, of a session that its owner has erased. */
  function onErased(token: string): Promise<void> {
    return enqueue(() => exclusively(`${name} wipe`, () => erase(claimsOf(token))))
  }

  /**
   * Deletes all data of the user on this device, unsent edits included, unless the user has signed in again
   * since: that session is another one.
   */
  async function erase({ sub: id, sid }: { sub: string; sid: string }): Promise<void> {
    const kept = await session.load()
    const isKept = kept?.user.id === id
    if (!isKept || claimsOf(kept.refresh).sid === sid) {
      if (isKept) {
        // An interrupted deletion continues at the next start.
        await session.forget(id)
        notice$.next('device_erased')
        tabs.tell('device_erased')
      }
      await follow()
      await deleteDocuments()
      await removeRxDatabase(databaseName(name, { id }), storage, multiInstance)
    }
    for (const refresh of await store.forgotten())
      if (claimsOf(refresh).sid === sid) await store.notified(refresh)
  }

  /** Deletes all data of the user on this device, unsent edits included. */
  async function wipe(id: string): Promise<void> {
    const kept = await session.load()
    if (kept?.user.id === id) {
      await session.forget()
      notice$.next('account_deleted')
      tabs.tell('account_deleted')
    }
    await follow()
    await removeRxDatabase(databaseName(name, { id }), storage, multiInstance)
    // Last, so that after an interruption the delivery of this sign-out triggers it again.
    for (const refresh of await store.forgotten())
      if (claimsOf(refresh).sub === id) await store.notified(refresh)
  }

  /** An ended session sends no requests, so this checks whether its account was deleted. */
  async function askAfterEnded(): Promise<void> {
    const kept = session.kept$.value
    if (!kept?.ended) return
    const body = { refresh: kept.refresh }
    await api('/api/logout/', { method: 'POST', body }).catch(() => {})
  }

  /** Opens or closes the local copy according to the stored session, which another tab may have changed. */
  async function follow(): Promise<void> {
    const kept = await session.load()
    if (localCopy$.value && localCopy$.value.user.id !== kept?.user.id) await closeLocalCopy()
    if (!kept || localCopy$.value) return
    await deleteDocuments()
    localCopy$.next(await LocalCopy.open(kept.user, copyOptions))
  }

  async function closeLocalCopy(): Promise<void> {
    const copy = localCopy$.value
    localCopy$.next(undefined)
    await copy?.stop()
    await copy?.database.close()
  }

  function collections(): Collections {
    if (!localCopy$.value) throw signedOut()
    return localCopy$.value.collections
  }

  function enqueue<T>(run: () => Promise<T>): Promise<T> {
    const result = queue.then(run)
    queue = result.catch(() => {})
    return result
  }
}
