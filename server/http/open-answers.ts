import { callAt } from '../runtime/call-at.ts'
import type { Call } from './operation.ts'

/** Answers that are written over time: each is cut when its session ends, and when its token does. */
export function createOpenAnswers(now: () => Date) {
  const open = new Map<() => void, readonly [session: string, user: string]>()

  return {
    /**
     * @param cut ends the answer, whether it is being read or not
     * @returns what to call when the answer has ended
     */
    add(
      { user, session, expires }: Pick<Call, 'user' | 'session' | 'expires'>,
      cut: () => void,
    ): () => void {
      const cancel = callAt(expires * 1000, now, cut)
      open.set(cut, [session, user])
      return () => {
        open.delete(cut)
        cancel()
      }
    },

    cut(ended: string): void {
      for (const [cut, [session]] of open) if (session === ended) cut()
    },

    /** The sessions of all of them, with their users. */
    sessions: () => [...open.values()],
  }
}

export type OpenAnswers = ReturnType<typeof createOpenAnswers>
