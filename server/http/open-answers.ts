import { callAt } from '../runtime/call-at.ts'
import type { Call } from './operation.ts'

/** Answers that are written over time: each is cut when its session ends, and when its token does. */
export function createOpenAnswers(now: () => Date) {
  const open = new Map<() => void, string>()

  return {
    /**
     * @param cut ends the answer, whether it is being read or not
     * @returns what to call when the answer has ended
     */
    add({ session, expires }: Pick<Call, 'session' | 'expires'>, cut: () => void): () => void {
      const cancel = callAt(expires * 1000, now, cut)
      open.set(cut, session)
      return () => {
        open.delete(cut)
        cancel()
      }
    },

    cut(ended: string): void {
      for (const [cut, session] of open) if (session === ended) cut()
    },

    sessions: () => new Set(open.values()),
  }
}

export type OpenAnswers = ReturnType<typeof createOpenAnswers>
