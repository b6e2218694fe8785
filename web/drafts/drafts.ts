import { createContext } from 'preact'
import { useContext, useEffect, useState } from 'preact/hooks'

/** Unsaved text of one form. */
export interface Draft {
  /** Which form. */
  key: string
  /** A name to show. */
  name: string
  /** The time of the last input. */
  at: string
  /** The text of each changed field. */
  fields: Readonly<Record<string, unknown>>
  /** The document in the form, if any. */
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
/** About four descriptions of maximum length. Browsers allow a site 5 million characters. */
const MAX_CHARACTERS = 200_000

/**
 * The drafts of one user on this device. They survive Escape, the back button, a reload and a restart of
 * the browser, and are removed at sign-out (`removeDraftsOfOthers`). New ones replace the oldest.
 */
export function draftsOf(user: string): Drafts {
  const key = PREFIX + user
  const read = (): Draft[] => {
    try {
      return JSON.parse(localStorage.getItem(key) ?? '[]')
    } catch {
      return [] // of another release, or damaged
    }
  }
  const write = (drafts: Draft[]) => {
    const kept = drafts.slice(-MAX_DRAFTS)
    while (JSON.stringify(kept).length > MAX_CHARACTERS) kept.shift()
    try {
      if (kept.length > 0) localStorage.setItem(key, JSON.stringify(kept))
      else localStorage.removeItem(key)
    } catch {
      // The quota is used up. The text is still in the form.
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

/** At sign-out in any tab, and at sign-in: users must not see each other's text. */
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
    /** Discards the draft. */
    decline() {
      drafts.remove(key)
      setOffered(undefined)
    },
  }
}

/** All drafts of this user, updated on changes in any tab. */
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
