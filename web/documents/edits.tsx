import {
  type Category,
  type Client,
  ClientError,
  type NewTask,
  type Profile,
  type RejectedRow,
  type Task,
} from '@tasktide/client'
import { type ComponentChildren, createContext } from 'preact'
import { useContext, useMemo, useState } from 'preact/hooks'
import { errorMessage } from '../forms/error-message.ts'
import { Fault } from '../forms/fault.tsx'
import { ClientContext } from './client-context.ts'
import type { RejectedEdit } from './documents.ts'

/**
 * All writes of components on this device. None of these rejects: if the write fails, the result is
 * false or null and an alert shows the reason. Clear a form only after checking the result; the linter
 * finds a result that is not awaited.
 */
export interface Edits {
  /** @returns the id of the task, or null if it was not stored */
  addTask(task: NewTask): Promise<string | null>
  changeTask(id: string, changed: Partial<Task>): Promise<boolean>
  completeTask(id: string, isCompleted: boolean): Promise<boolean>
  moveTask(id: string, place: { after: string } | { before: string }): Promise<boolean>
  deleteTask(id: string): Promise<boolean>
  deleteTaskForGood(id: string): Promise<boolean>
  restoreTask(id: string, changed?: Partial<Task>): Promise<boolean>
  /** @returns the id of the category, or null if it was not stored */
  addCategory(given: CategoryText): Promise<string | null>
  changeCategory(id: string, changed: Partial<CategoryText>): Promise<boolean>
  deleteCategory(id: string): Promise<boolean>
  /** Restores it, with the given changes. */
  restoreCategory(category: RestoredCategory, given: CategoryText): Promise<boolean>
  changeProfile(id: string, changed: Partial<Profile>): Promise<boolean>
  /** Retries a rejected edit. */
  retry(edit: RejectedEdit, corrections: Record<string, unknown>): Promise<boolean>
  discard(edit: RejectedEdit): Promise<boolean>
  workOffline(isOffline: boolean): Promise<boolean>
  /** @returns `unsent` if there are unsent edits and `keepData` is not given */
  signOut(options: { keepData?: boolean }): Promise<'signed_out' | 'unsent' | null>
}

/** Whether it was stored on this device. */
export type Kept = Promise<boolean>

type CategoryText = Pick<Category, 'name' | 'color'>
type RestoredCategory = Readonly<Pick<Category, 'id' | 'position' | 'created_at'>>

interface WriteFault {
  text: string
  /** Increases with each failure, so that the same text is announced again. */
  count: number
}

const EditsContext = createContext<{ edits: Edits; fault: WriteFault; dismiss: () => void }>(null!)

const NO_FAULT: WriteFault = { text: '', count: 0 }

export function EditsProvider({ children }: { children: ComponentChildren }) {
  const client = useContext(ClientContext)!
  const [fault, setFault] = useState(NO_FAULT)
  const edits = useMemo(() => {
    const tell = (text: string) =>
      setFault((last) => (text || last.text ? { text, count: last.count + 1 } : last))
    return editsOf(client, tell)
  }, [client])
  const dismiss = () => setFault(NO_FAULT)
  return <EditsContext.Provider value={{ edits, fault, dismiss }}>{children}</EditsContext.Provider>
}

export function useEdits(): Edits {
  return useContext(EditsContext).edits
}

/** Why the last write failed; empty after a successful write, or when dismissed. */
export function useWriteFault() {
  const { fault, dismiss } = useContext(EditsContext)
  return { ...fault, dismiss }
}

/** The same inside a dialog: screen readers do not read anything outside of it. */
export function DialogFault() {
  const { text, count } = useWriteFault()
  return <Fault key={count} text={text} />
}

function editsOf(client: Client, tell: (fault: string) => void): Edits {
  const attempt = async <T,>(write: () => Promise<T>): Promise<T | null> => {
    try {
      const result = await write()
      tell('')
      return result
    } catch (error) {
      console.warn(error)
      tell(errorMessage(error))
      return null
    }
  }
  const isKept = async (write: () => Promise<unknown>): Kept =>
    (await attempt(async () => {
      await write()
      return true
    })) ?? false
  const categoryOf = (id: string) => client.categories.findOne(id).exec(true)

  return {
    addTask: (task) => attempt(async () => (await client.tasks.add(task)).id),
    changeTask: (id, changed) =>
      isKept(async () => {
        const document = await client.tasks.findOne(id).exec(true)
        await document.incrementalPatch(changed)
      }),
    completeTask: (id, isCompleted) => isKept(() => client.tasks.complete(id, isCompleted)),
    moveTask: (id, place) => isKept(() => client.tasks.move(id, place)),
    deleteTask: (id) => isKept(() => client.tasks.softDelete(id)),
    deleteTaskForGood: (id) => isKept(() => client.tasks.deleteForGood(id)),
    restoreTask: (id, changed = {}) =>
      isKept(async () => {
        const document = await client.tasks.restore(id)
        if (Object.keys(changed).length > 0) await document.incrementalPatch(changed)
      }),
    addCategory: (given) => attempt(async () => (await client.categories.insert(given)).id),
    changeCategory: (id, changed) =>
      isKept(async () => (await categoryOf(id)).incrementalPatch(changed)),
    deleteCategory: (id) => isKept(async () => (await categoryOf(id)).incrementalRemove()),
    restoreCategory: ({ id, position, created_at }, given) =>
      isKept(() => client.categories.insert({ id, position, created_at, ...given })),
    changeProfile: (id, changed) =>
      isKept(async () => {
        const document = await client.profile.findOne(id).exec(true)
        await document.incrementalPatch(changed)
      }),
    retry: (edit, corrections) => isKept(() => (edit as RejectedRow).retry(corrections)),
    discard: (edit) => isKept(() => (edit as RejectedRow).discard()),
    workOffline: (isOffline) =>
      isKept(() => (isOffline ? client.sync.pause() : client.sync.resume())),
    signOut: (options) => attempt(() => signOut(client, options)),
  }
}

async function signOut({ session }: Client, options: { keepData?: boolean }) {
  try {
    await session.signOut(options)
    return 'signed_out'
  } catch (error) {
    if (!(error instanceof ClientError && error.code === 'unsent_edits')) throw error
    return 'unsent'
  }
}
