import type { RxCollection } from 'rxdb'
import {
  type BehaviorSubject,
  distinctUntilChanged,
  map,
  type Observable,
  of,
  shareReplay,
  switchMap,
} from 'rxjs'
import { sameValue } from '../protocol/canonical.ts'
import type { Collections } from './local/collections.ts'
import type { Conflict, ResourceName } from './local/documents.ts'
import { resources } from './local/resources.ts'
import { shapes } from './local/shapes.ts'
import type { LocalCopy } from './local-copy.ts'
import { isShaped } from './runtime/answers.ts'
import { readAgain } from './runtime/back-off.ts'
import { ClientError, signedOut } from './runtime/client-error.ts'
import { isSetAside, type RejectedEdit } from './sync/rejections.ts'
import type { ConflictRow, RejectedRow, Sync } from './sync/sync.ts'
import type { SyncState } from './sync/sync-status.ts'

const SIGNED_OUT: SyncState = {
  status: 'signed_out',
  pending: 0,
  last_synced_at: null,
  progress: null,
  error: null,
  live_refused: null,
}
const PATIENCE_MS = 30_000

/** The sync of the signed-in user. */
export function createSync(localCopy$: BehaviorSubject<LocalCopy | undefined>): Sync {
  const state$ = localCopy$.pipe(
    switchMap((copy) => copy?.state$ ?? of(SIGNED_OUT)),
    shareReplay({ bufferSize: 1, refCount: true }),
  )
  const select = <K extends keyof SyncState>(key: K): Observable<SyncState[K]> =>
    state$.pipe(
      map((state) => state[key]),
      distinctUntilChanged((a, b) => JSON.stringify(a) === JSON.stringify(b)),
    )
  const current = () => {
    if (!localCopy$.value) throw signedOut()
    return localCopy$.value
  }
  return {
    state$,
    status$: select('status'),
    pending$: select('pending'),
    last_synced_at$: select('last_synced_at'),
    progress$: select('progress'),
    rejected$: localCopy$.pipe(switchMap((copy) => (copy ? rejectedOf(copy) : of([])))),
    conflicts$: localCopy$.pipe(switchMap((copy) => (copy ? conflictsOf(copy) : of([])))),
    async awaitInSync({ timeout = PATIENCE_MS } = {}) {
      await inTime(current().inSync(), timeout)
    },
    verify: async ({ timeout = PATIENCE_MS } = {}) => inTime(current().verify(), timeout),
    pause: () => current().pause(true),
    resume: () => current().pause(false),
    isPaused$: localCopy$.pipe(
      switchMap((copy) => copy?.isPaused$ ?? of(false)),
      distinctUntilChanged(),
    ),
    wake: () => localCopy$.value?.wake(),
  }
}

function rejectedOf({ rejections, collections }: LocalCopy): Observable<RejectedRow[]> {
  return rejections.all$.pipe(
    map((edits) =>
      edits
        .filter(({ resource }) => resource in collections)
        .map((edit) => ({
          ...edit,
          async retry(corrections = {}) {
            await writeAgain(collections, edit, corrections)
            await rejections.forget(edit)
          },
          async discard() {
            if (isSetAside(edit)) await takeBack(collections, edit)
            await rejections.forget(edit)
          },
        })),
    ),
  )
}

/** Applies the changes of the edit to the current document. A set-aside edit is already in it. */
async function writeAgain(
  collections: Collections,
  edit: RejectedEdit,
  corrections: Record<string, unknown>,
): Promise<void> {
  const { resource, id, document } = edit
  const collection = collections[resource as ResourceName] as RxCollection
  const { _deleted, updated_at, ...fields } = document
  const changed = isSetAside(edit) ? {} : pick(fields, changedBy(edit))
  const current = await collection.findOne(id).exec()
  if (_deleted) await current?.incrementalRemove()
  else if (current) await current.incrementalPatch({ ...changed, ...corrections })
  else await collection.insert({ ...fields, ...corrections })
}

/**
 * A set-aside edit is still in its document and would be sent eventually. Later edits of the same fields
 * stay.
 */
async function takeBack(collections: Collections, edit: RejectedEdit): Promise<void> {
  const { resource, id, document, previous } = edit
  const collection = collections[resource as ResourceName] as RxCollection
  const current = await collection.findOne(id).exec()
  if (!current) return
  const definition = resources[resource as ResourceName]
  const isLeft = (now: Readonly<Record<string, unknown>>) => (name: string) =>
    sameValue(definition.fields[name]!, now[name], document[name])
  const isCreation = !previous || previous._deleted
  if (!isCreation)
    await current.incrementalModify((now: Readonly<Record<string, unknown>>) => ({
      ...now,
      ...pick(previous, changedBy(edit).filter(isLeft(now))),
    }))
  else if (definition.fieldNames.every(isLeft(current.toJSON()))) await current.incrementalRemove()
}

/** The names of the fields that an edit has changed. */
function changedBy({ resource, document, previous }: RejectedEdit): string[] {
  const definition = resources[resource as ResourceName]
  const names = definition.fieldNames.filter((name) => name in document)
  return previous
    ? names.filter((name) => !sameValue(definition.fields[name]!, previous[name], document[name]))
    : names
}

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]) {
  return Object.fromEntries(names.map((name) => [name, from[name]]))
}

function conflictsOf({
  database,
  collections,
  connection,
  api,
}: LocalCopy): Observable<ConflictRow[]> {
  // An app may do without the journal.
  if (!collections.conflicts) return of([])
  const open = collections.conflicts.find({
    selector: { restored_at: null },
    sort: [{ created_at: 'desc' }],
  })
  return open.$.pipe(
    readAgain(database),
    map((documents) =>
      documents.map((document) => ({
        ...(document.toMutableJSON() as Conflict),
        async restore() {
          const path = `/api/conflicts/${document.id}/restore/`
          const request = { method: 'POST', isAnswer: isShaped(shapes.conflict) }
          await connection.authorized((token) => api(path, { ...request, token }))
        },
      })),
    ),
  )
}

async function inTime<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    const error = new ClientError('timed_out', `Sync did not finish within ${milliseconds} ms.`)
    timer = setTimeout(() => reject(error), milliseconds)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
