import { Problem } from '../../protocol/index.ts'

/** About as often, clients without a live connection pull. */
const RETRY_SECONDS = 15

/** What each person may have open at once on this node. */
export interface Places {
  readonly limit: number
  /**
   * @param limit for this person, if it is another one
   * @returns a function that gives the place back, once however often it is called; undefined if all are taken
   */
  take(person: string, limit?: number): (() => void) | undefined
}

export function createPlaces(usual: number): Places {
  const takenByPerson = new Map<string, number>()
  return {
    limit: usual,
    take(person, limit = usual) {
      const taken = takenByPerson.get(person) ?? 0
      if (taken >= limit) return undefined
      takenByPerson.set(person, taken + 1)
      let isTaken = true
      return () => {
        if (!isTaken) return
        isTaken = false
        const left = takenByPerson.get(person)! - 1
        if (left === 0) takenByPerson.delete(person)
        else takenByPerson.set(person, left)
      }
    },
  }
}

/** The least that is left of a limit: a phone and a laptop. */
const LEAST = 2

/** What is left of a limit for an account that is limited, because its address is not confirmed: a tenth. */
export const limitFor = ({ isLimited }: { isLimited: boolean }, limit: number): number =>
  isLimited ? Math.min(limit, Math.max(LEAST, Math.floor(limit / 10))) : limit

export const tooManyConnections = (limit: number) =>
  new Problem(
    'too_many_connections',
    `This account has ${limit} live connections of this kind already; close some of them, or pull every ${RETRY_SECONDS} seconds instead.`,
    { retryAfter: RETRY_SECONDS },
  )
