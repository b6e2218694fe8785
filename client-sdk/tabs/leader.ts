import { BehaviorSubject } from 'rxjs'
import { elapsed, isVisible } from '../runtime/environment.ts'
import { uuidv7 } from '../runtime/uuid.ts'
import type { Tabs } from './tabs.ts'

const BEAT_MS = 1_000
/** The heartbeat timeout of a visible tab. Hidden tabs, whose timers are throttled, wait longer. */
const PATIENCE_MS = 3_000
const HIDDEN_PATIENCE_MS = 90_000

/** One tab's claim to lead. */
interface Claim {
  id: string
  visible: boolean
  since: number
}

export type LeaderMessage = { kind: 'lead'; claim: Claim } | { kind: 'leave'; id: string }

/**
 * Elects the tab that syncs for all. A visible tab has priority over a hidden one, and a later claim over
 * an earlier one. So a user who opens the app does not wait for a tab that the browser has frozen. When
 * that tab wakes up, it learns that it is no longer the leader.
 */
export class Leader {
  readonly isLeader$ = new BehaviorSubject(false)
  private readonly id = uuidv7()
  private readonly tabs: Tabs<LeaderMessage>
  private readonly beat: ReturnType<typeof setInterval>
  private since = 0
  private heard = elapsed()
  /** The latest claim of any tab. A new claim is later, even if the clock was set back. */
  private latest = 0
  private isClosed = false

  constructor(tabs: Tabs<LeaderMessage>) {
    this.tabs = tabs
    tabs.message$.subscribe((message) => {
      if (message.kind === 'lead') this.hear(message.claim)
      if (message.kind === 'leave' && isVisible()) this.lead()
    })
    this.beat = setInterval(() => this.look(), BEAT_MS)
    if (isVisible() || !tabs.areSeveral) this.lead()
  }

  /** Claims leadership; another visible tab may claim it later. */
  lead(): void {
    if (this.isClosed) return
    this.since = Math.max(Date.now(), this.latest + 1)
    this.latest = this.since
    this.tell()
    if (!this.isLeader$.value) this.isLeader$.next(true)
  }

  /** From then on this tab does not lead, even if others leave: all tabs close when the user signs out. */
  close(): void {
    this.isClosed = true
    clearInterval(this.beat)
    if (this.isLeader$.value) this.tabs.tell({ kind: 'leave', id: this.id })
    this.isLeader$.next(false)
  }

  private look(): void {
    const patience = isVisible() ? PATIENCE_MS : HIDDEN_PATIENCE_MS
    if (this.isLeader$.value) this.tell()
    else if (elapsed() - this.heard > patience) this.lead()
  }

  private tell(): void {
    this.tabs.tell({ kind: 'lead', claim: this.claim() })
  }

  private claim(): Claim {
    return { id: this.id, visible: isVisible(), since: this.since }
  }

  private hear(other: Claim): void {
    this.heard = elapsed()
    this.latest = Math.max(this.latest, other.since)
    if (this.isLeader$.value) {
      if (outranks(other, this.claim())) this.isLeader$.next(false)
      else this.tell()
    } else if (!other.visible && isVisible()) this.lead()
  }
}

/** A total order, so that any two tabs agree. */
export function outranks(a: Claim, b: Claim): boolean {
  if (a.visible !== b.visible) return a.visible
  return a.since === b.since ? a.id > b.id : a.since > b.since
}
