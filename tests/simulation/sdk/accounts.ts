import type { Timeline } from '../timeline.ts'

/** Short, so that tokens are refreshed often during faults. */
const ACCESS_MS = 66_000

interface Session {
  user: string
  generation: number
  isOver: boolean
}

interface Claims {
  typ: 'access' | 'refresh'
  sub: string
  sid: string
  gen: number
  iat: number
  exp: number
}

export interface TokenPair {
  access: string
  refresh: string
}

/** The server's sessions by the rules of docs/decisions/0004, without passwords and keys. */
export class Accounts {
  private readonly sessions = new Map<string, Session>()
  private readonly timeline: Timeline

  constructor(timeline: Timeline) {
    this.timeline = timeline
  }

  signIn(user: string): TokenPair {
    const id = this.timeline.chance.uuid()
    this.sessions.set(id, { user, generation: 0, isOver: false })
    return this.pair(id)
  }

  /** The previous token returns the same successor again; an older one ends the session. */
  refresh(token: string): TokenPair | undefined {
    const claims = claimsOf(token)
    const session = claims && this.sessions.get(claims.sid)
    if (claims?.typ !== 'refresh' || !session || session.isOver) return undefined
    if (claims.gen === session.generation) session.generation++
    else if (claims.gen !== session.generation - 1) {
      session.isOver = true
      return undefined
    }
    return this.pair(claims.sid)
  }

  end(token: string): boolean {
    const session = this.sessions.get(claimsOf(token)?.sid ?? '')
    if (!session || session.isOver) return false
    session.isOver = true
    return true
  }

  /** As from another device. */
  endAllOf(user: string): void {
    for (const session of this.sessions.values()) if (session.user === user) session.isOver = true
  }

  /** @returns the user of an access token, while it is valid */
  read(token: string): { user: string; session: string } | undefined {
    const claims = claimsOf(token)
    if (claims?.typ !== 'access' || claims.exp * 1000 <= this.now()) return undefined
    const session = this.sessions.get(claims.sid)
    return session && !session.isOver ? { user: session.user, session: claims.sid } : undefined
  }

  /** The user of a request, by its token, even if that has expired. */
  userOf({ headers }: { headers: Readonly<Record<string, string>> }): string | undefined {
    return claimsOf(headers.authorization ?? '')?.sub
  }

  private pair(id: string): TokenPair {
    const { user, generation } = this.sessions.get(id)!
    const iat = Math.floor(this.now() / 1000)
    const common = { sub: user, sid: id, gen: generation, iat }
    return {
      access: token({ ...common, typ: 'access', exp: iat + ACCESS_MS / 1000 }),
      refresh: token({ ...common, typ: 'refresh', exp: iat + 1_000_000 }),
    }
  }

  private now(): number {
    return Date.parse(this.timeline.clock(0))
  }
}

const token = (claims: Claims) =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.`

function claimsOf(text: string): Claims | undefined {
  try {
    return JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString())
  } catch {
    return undefined
  }
}
