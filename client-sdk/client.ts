import { removeRxDatabase } from 'rxdb'
import { BehaviorSubject, distinctUntilChanged, map, type Observable } from 'rxjs'
import { Account, databaseName } from './account.ts'
import { createSync } from './account-sync.ts'
import type { Collections } from './local/database.ts'
import type { Storage } from './local/storage.ts'
import { isShaped } from './runtime/answers.ts'
import { createApi, PATIENCE_MS } from './runtime/api.ts'
import { ClientError, signedOut } from './runtime/client-error.ts'
import { Clock } from './runtime/clock.ts'
import { exclusively, mayHaveTabs, timezoneAndLocale } from './runtime/environment.ts'
import { randomBytes } from './runtime/uuid.ts'
import { type AccountRequests, createAccountRequests } from './session/account-requests.ts'
import { type Credentials, claimsOf, Session } from './session/session.ts'
import { SignOuts } from './session/sign-outs.ts'
import { openTokenStore, type User } from './session/token-store.ts'
import type { Sync } from './sync/sync.ts'
import { Tabs } from './tabs/tabs.ts'

export interface ClientOptions {
  /** Of the server, such as `https://tasks.example.com`. */
  url: string
  /** Any of RxDB's storages. */
  storage: Storage
  /** Tells apart several clients on one device. */
  name?: string
  /** Whether other tabs may have the same storage open. By default: in browsers. */
  multiInstance?: boolean
  /** How often to ask for changes while websockets are blocked, in milliseconds. */
  pollInterval?: number
  /** How long a request may wait while nothing moves, in milliseconds. By default a minute. */
  patience?: number
  fetch?: typeof globalThis.fetch
  now?: () => number
}

export interface ClientSession {
  /** Who is signed in, or was until the server ended the session: the documents are still there. */
  readonly user$: Observable<User | null>
  /**
   * Why nobody is signed in, if it was neither this device nor an end that the person can mend: the
   * account was deleted, here or elsewhere, and so everything of it on this device. Until somebody
   * signs in.
   */
  readonly notice$: Observable<'account_deleted' | null>
  /** Makes an account, and signs in. */
  register(account: Credentials & { email: string }): Promise<User>
  signIn(credentials: Credentials): Promise<User>
  /**
   * Without edits that are unsent or rejected, the documents leave the device, unless `keepData`.
   * Needs no network: the server ends the session at once, or when it can be reached again.
   *
   * @param options.keepData what to do with such edits: keep them for the next time, or drop them
   * @throws ClientError `unsent_edits` if there are some and `keepData` does not say
   */
  signOut(options?: { keepData?: boolean }): Promise<void>
}

export interface Client extends Readonly<Collections> {
  readonly session: ClientSession
  readonly sync: Sync
  readonly account: AccountRequests
  close(): Promise<void>
}

const POLL_MS = 15_000

/** Opens what is on the device. Needs no network: who was signed in still is. */
export async function createClient(options: ClientOptions): Promise<Client> {
  randomBytes(1) // rather now than at the first edit
  const { storage, name = 'tasktide', multiInstance = mayHaveTabs(), now = Date.now } = options
  const url = readUrl(options.url)
  const clock = new Clock(now)
  const fetch = options.fetch ?? ((...args) => globalThis.fetch(...args))
  const { pollInterval = POLL_MS, patience = PATIENCE_MS } = options
  const api = createApi({
    url,
    fetch,
    clock,
    patience,
    gone: (token) => void gone(token).catch(() => {}),
  })
  const store = await openTokenStore(storage, name)
  clock.restore((await store.clock()) ?? { offset: 0, at: 0 })
  clock.learned = (reading) => void store.keepClock(reading).catch(() => {}) // learned again
  const session = new Session(store, api, now, name)
  const signOuts = new SignOuts(store, api, name)
  const server = { api, url, session, clock, pollInterval, patience }
  const accountOptions = { storage, name, multiInstance, now, ...server }
  const account$ = new BehaviorSubject<Account | undefined>(undefined)
  const notice$ = new BehaviorSubject<'account_deleted' | null>(null)
  const tabs = new Tabs<'session' | 'account_deleted'>(`tasktide ${name}`, multiInstance)
  let turn: Promise<unknown> = Promise.resolve()

  await inTurn(follow)
  void inTurn(deleteDocuments).catch(() => {}) // the next start tries again
  void signOuts.deliver()
  void askAfterEnded()
  tabs.message$.subscribe((message) => {
    notice$.next(message === 'session' ? null : message)
    void inTurn(follow)
  })

  return {
    get tasks() {
      return collections().tasks
    },
    get categories() {
      return collections().categories
    },
    get profile() {
      return collections().profile
    },
    get conflicts() {
      return collections().conflicts
    },
    session: {
      user$: account$.pipe(
        map((account) => account?.user ?? null),
        distinctUntilChanged(),
      ),
      notice$,
      async register({ username, email, password }) {
        const isAnswer = isShaped({ id: 'string' })
        const register = (body: object) => api('/api/register/', { method: 'POST', body, isAnswer })
        const account = { username, email, password }
        await register({ ...account, ...timezoneAndLocale() }).catch((error) => {
          // A device may know timezones that the server has not heard of.
          if (!error.errors?.timezone && !error.errors?.locale) throw error
          return register(account)
        })
        return signIn({ username, password })
      },
      signIn,
      async signOut({ keepData } = {}) {
        await inTurn(() => signOut(keepData))
        await signOuts.deliver()
      },
    },
    sync: createSync(account$),
    account: createAccountRequests(api, account$, gone),
    close: () =>
      inTurn(async () => {
        tabs.close()
        await closeAccount()
        account$.complete()
        await signOuts.close()
        await store.close()
      }),
  }

  function signIn(credentials: Credentials): Promise<User> {
    return inTurn(async () => {
      // What is stored counts: a sign-in may have failed after it was.
      const kept = await session.load()
      if (kept && !kept.ended && account$.value)
        throw new ClientError('signed_in', `Sign ${kept.user.username} out first.`)
      await session.signIn(credentials)
      notice$.next(null)
      await follow()
      tabs.tell('session')
      await account$.value!.pause(false)
      account$.value!.wake()
      return account$.value!.user
    })
  }

  async function signOut(keepData: boolean | undefined): Promise<void> {
    const account = account$.value
    if (!account) return
    // What would be written between the question and the deletion could not be asked about.
    await account.writes.stop()
    try {
      if (keepData === undefined) await refuseUnsent(account)
      await session.forget(keepData ? undefined : account.user.id).catch(async (error) => {
        // A write may fail and be kept all the same: then nobody is signed in any more.
        if (await session.load()) throw error
      })
    } catch (error) {
      account.writes.resume()
      throw error
    }
    tabs.tell('session')
    await closeAccount()
    await deleteDocuments()
  }

  /**
   * Of all who have signed out without keeping them. It may be interrupted anywhere: what is left of
   * them must not be opened, since it may have a cursor without the documents before it.
   */
  function deleteDocuments(): Promise<void> {
    return exclusively(`${name} deletion`, async () => {
      for (const id of await store.wiping()) {
        await removeRxDatabase(databaseName(name, { id }), storage, multiInstance)
        await store.wiped(id)
      }
    })
  }

  async function refuseUnsent(account: Account): Promise<void> {
    const edits = (await account.unsent()) + (await account.rejections.all()).length
    if (edits > 0)
      throw new ClientError(
        'unsent_edits',
        `${edits} edits are not on the server: say whether to keep them (keepData).`,
      )
  }

  /** Told by a token, of either kind, whose account is there no more. */
  function gone(token: string): Promise<void> {
    return inTurn(() => exclusively(`${name} wipe`, () => wipe(claimsOf(token).sub)))
  }

  /** Nothing of the person stays here, not even what was never sent. */
  async function wipe(id: string): Promise<void> {
    const kept = await session.load()
    if (kept?.user.id === id) {
      await session.forget()
      notice$.next('account_deleted')
      tabs.tell('account_deleted')
    }
    await follow()
    await removeRxDatabase(databaseName(name, { id }), storage, multiInstance)
    // Last: whoever is cut off before is told again, when this sign-out is delivered.
    for (const refresh of await store.forgotten())
      if (claimsOf(refresh).sub === id) await store.told(refresh)
  }

  /** A session that has ended makes no more requests, and so would not hear that the account is gone. */
  async function askAfterEnded(): Promise<void> {
    const kept = session.kept$.value
    if (!kept?.ended) return
    const body = { refresh: kept.refresh }
    await api('/api/logout/', { method: 'POST', body }).catch(() => {})
  }

  /** Opens or closes what the stored session asks for; another tab may have changed it. */
  async function follow(): Promise<void> {
    const kept = await session.load()
    if (account$.value && account$.value.user.id !== kept?.user.id) await closeAccount()
    if (!kept || account$.value) return
    await deleteDocuments()
    account$.next(await Account.open(kept.user, accountOptions))
  }

  async function closeAccount(): Promise<void> {
    const account = account$.value
    account$.next(undefined)
    await account?.stop()
    await account?.database.close()
  }

  function collections(): Collections {
    if (!account$.value) throw signedOut()
    return account$.value.collections
  }

  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = turn.then(run)
    turn = result.catch(() => {})
    return result
  }
}

/** The server stands at the root of its host: a path would be taken for one of its own. */
function readUrl(url: string): string {
  const root = url.replace(/\/+$/, '')
  if (/^https?:\/\/[^/?#\s]+$/.test(root)) return root
  throw new ClientError(
    'invalid',
    `url: ${JSON.stringify(url)} is not that of a server. Give one such as https://tasks.example.com, without a path.`,
  )
}
