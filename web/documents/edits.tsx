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
import { Fault } from '../forms/fault.tsx'
import { spokenFault } from '../forms/spoken-fault.ts'
import { ClientContext } from './client-context.ts'
import type { RefusedEdit } from './documents.ts'

/**
 * Everything that components write on this device. None of these rejects: when the write fails, the
 * result says so and an alert says why. What was typed is cleared only after the result was read;
 * the linter finds a result that nobody waits for.
 */
export interface Edits {
  /** @returns the id of the task, or null if it was not kept */
  addTask(task: NewTask): Promise<string | null>
  changeTask(id: string, changed: Partial<Task>): Promise<boolean>
  completeTask(id: string, isCompleted: boolean): Promise<boolean>
  moveTask(id: string, place: { after: string } | { before: string }): Promise<boolean>
  deleteTask(id: string): Promise<boolean>
  restoreTask(id: string, changed?: Partial<Task>): Promise<boolean>
  /** @returns the id of the category, or null if it was not kept */
  addCategory(given: CategoryText): Promise<string | null>
  changeCategory(id: string, changed: Partial<CategoryText>): Promise<boolean>
  deleteCategory(id: string): Promise<boolean>
  /** As it was, but for what is given. */
  restoreCategory(category: RestoredCategory, given: CategoryText): Promise<boolean>
  changeProfile(id: string, changed: Partial<Profile>): Promise<boolean>
  /** Sends an edit that the server refused once more. */
  retry(edit: RefusedEdit, corrections: Record<string, unknown>): Promise<boolean>
  discard(edit: RefusedEdit): Promise<boolean>
  workOffline(isOffline: boolean): Promise<boolean>
  /** @returns `unsent` if there are edits that only this device has, and `keepData` does not say */
  signOut(options: { keepData?: boolean }): Promise<'signed_out' | 'unsent' | null>
}

/** Whether it is on this device now. */
export type Kept = Promise<boolean>

type CategoryText = Pick<Category, 'name' | 'color'>
type RestoredCategory = Readonly<Pick<Category, 'id' | 'position' | 'created_at'>>

interface WriteFault {
  text: string
  /** Another one for each failure, so that the same words are announced again. */
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

/** Why the last write was not kept; empty once another one was, or the person has read it. */
export function useWriteFault() {
  const { fault, dismiss } = useContext(EditsContext)
  return { ...fault, dismiss }
}

/** Why the last write was not kept, inside a dialog: nothing outside of it is read aloud. */
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
      tell(spokenFault(error))
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
    restoreTask: (id, changed = {}) =>
      isKept(async () => {
        const document = await client.tasks.restore(id)
        if (Object.keys(changed).length > 0) await document.incrementalPatch(changed)
      }),
    addCategory: (given) =>
      attempt(async () => (await client.categories.insert(given as never)).id),
    changeCategory: (id, changed) =>
      isKept(async () => (await categoryOf(id)).incrementalPatch(changed)),
    deleteCategory: (id) => isKept(async () => (await categoryOf(id)).incrementalRemove()),
    restoreCategory: ({ id, position, created_at }, given) =>
      isKept(() => client.categories.insert({ id, position, created_at, ...given } as never)),
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
