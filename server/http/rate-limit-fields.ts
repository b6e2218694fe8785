import type { Problem } from '../../protocol/index.ts'
import { ProblemWithHeaders } from './problems.ts'

/** So many a minute, as a setting has it. */
export interface Policy {
  readonly name: string
  readonly perMinute: number
  readonly setting: string
}

/** What is left of a policy in this window. */
export interface Room {
  readonly policy: Policy
  readonly remaining: number
  readonly left_ms: number
}

/** The fields of draft-ietf-httpapi-ratelimit-headers. */
export function rateLimitFields({ policy, remaining, left_ms }: Room): Record<string, string> {
  const { name, perMinute } = policy
  return {
    'RateLimit-Policy': `"${name}";q=${perMinute};w=60`,
    RateLimit: `"${name}";r=${remaining};t=${secondsOf(left_ms)}`,
  }
}

export function tooMany(policy: Policy, left_ms: number): Problem {
  const seconds = secondsOf(left_ms)
  return new ProblemWithHeaders(
    rateLimitFields({ policy, remaining: 0, left_ms }),
    'too_many_requests',
    `Too many requests; try again in ${seconds} seconds. The operator can raise ${policy.setting} (${policy.perMinute} a minute).`,
    { retryAfter: seconds },
  )
}

const secondsOf = (ms: number) => Math.max(1, Math.ceil(ms / 1000))
