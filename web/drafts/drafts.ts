import { createContext } from 'preact'
import { useContext, useEffect, useState } from 'preact/hooks'

/** What was typed and not saved, of one form. */
export interface Draft {
  /** Which form. */
  key: string
  /** What it is about, for people. */
  name: string
  /** When it was last typed at. */
  at: string
  /** The text of each field that was changed. */
  fields: Readonly<Record<string, unknown>>
  /** The document that the form was opened with, if there was one. */
  base: unknown
}

export interface Drafts {
  readonly all: readonly Draft[]
  read(key: string): Draft | undefined
  keep(draft: Omit<Draft, 'at'>): void
  remove(key: string): void
}

const PREFIX = 'tasktide drafts '
const MAX_DRAFTS = 20
/** Some four descriptions at their longest; browsers give a site 5 million in all. */
const MAX_CHARACTERS = 200_000

/**
 * The drafts of one person on this device: they survive Escape, the back button, a reload and the end
 * of the browser, and leave with the person (`removeDraftsOfOthers`). The oldest give way to new ones.
 */
export function draftsOf(user: string): Drafts {
  const key = PREFIX + user
  const read = (): Draft[] => {
    try {
      return JSON.parse(localStorage.getItem(key) ?? '[]')
    } catch {
      return [] // of another release, or not readable
    }
  }
  const write = (drafts: Draft[]) => {
    const kept = drafts.slice(-MAX_DRAFTS)
    while (JSON.stringify(kept).length > MAX_CHARACTERS) kept.shift()
    try {
      if (kept.length > 0) localStorage.setItem(key, JSON.stringify(kept))
      else localStorage.removeItem(key)
    } catch {
      // No room: the text is still in its form.
    }
    changed.dispatchEvent(new Event('change'))
  }
  const without = (one: string) => read().filter((draft) => draft.key !== one)
  return {
    get all() {
      return read()
    },
    read: (one) => read().find((draft) => draft.key === one),
    keep: (draft) => write([...without(draft.key), { ...draft, at: new Date().toISOString() }]),
    remove: (one) => {
      const rest = without(one)
      if (rest.length < read().length) write(rest)
    },
  }
}

/** At a sign-out, in whichever tab, and when a person comes: nobody finds what another one typed. */
export function removeDraftsOfOthers(user: string | null): void {
  for (const key of Object.keys(localStorage))
    if (key.startsWith(PREFIX) && key !== PREFIX + user) localStorage.removeItem(key)
}

export const DraftsContext = createContext<Drafts>(null!)

/** The draft of one form, as it was when the form was opened. */
export function useDraft(key: string) {
  const drafts = useContext(DraftsContext)
  const [offered, setOffered] = useState(() => drafts.read(key))
  return {
    offered,
    keep: (draft: Omit<Draft, 'at' | 'key'>) => drafts.keep({ key, ...draft }),
    remove: () => drafts.remove(key),
    /** Back to what is saved. */
    decline() {
      drafts.remove(key)
      setOffered(undefined)
    },
  }
}

/** All drafts of this person, again whenever they change in this tab or another. */
export function useDrafts(user: string): Drafts {
  const [drafts, setDrafts] = useState(() => draftsOf(user))
  useEffect(() => {
    const look = () => setDrafts(draftsOf(user))
    changed.addEventListener('change', look)
    addEventListener('storage', look)
    return () => {
      changed.removeEventListener('change', look)
      removeEventListener('storage', look)
    }
  }, [user])
  return drafts
}

const changed = new EventTarget()
