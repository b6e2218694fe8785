import { BehaviorSubject } from 'rxjs'
import { elapsed, isVisible } from '../runtime/environment.ts'
import { uuidv7 } from '../runtime/uuid.ts'
import type { Tabs } from './tabs.ts'

const BEAT_MS = 1_000
/** A visible tab waits so long for a sign of life. Hidden ones, whose timers are slow, wait longer. */
const PATIENCE_MS = 3_000
const HIDDEN_PATIENCE_MS = 90_000

/** One tab's claim to lead. */
export interface Claim {
  id: string
  visible: boolean
  since: number
}

export type LeaderMessage = { kind: 'lead'; claim: Claim } | { kind: 'leave'; id: string }

/**
 * Which of the tabs syncs, for all of them. A tab in sight leads rather than a hidden one, and the
 * latest claim rather than an older one. So whoever opens the app or comes back to it does not wait
 * for a tab that the browser has put to sleep; and when that one awakes, it hears that it is not the
 * leader any more.
 */
export class Leader {
  readonly isLeader$ = new BehaviorSubject(false)
  private readonly id = uuidv7()
  private readonly tabs: Tabs<LeaderMessage>
  private readonly beat: ReturnType<typeof setInterval>
  private since = 0
  private heard = elapsed()
  /** The latest claim of any tab, so that a new one is later, whatever became of the clock. */
  private latest = 0

  constructor(tabs: Tabs<LeaderMessage>) {
    this.tabs = tabs
    tabs.message$.subscribe((message) => {
      if (message.kind === 'lead') this.hear(message.claim)
      if (message.kind === 'leave' && isVisible()) this.lead()
    })
    this.beat = setInterval(() => this.look(), BEAT_MS)
    if (isVisible() || !tabs.areSeveral) this.lead()
  }

  /** Claims the lead; another tab in sight may claim it later. */
  lead(): void {
    this.since = Math.max(Date.now(), this.latest + 1)
    this.latest = this.since
    this.tell()
    if (!this.isLeader$.value) this.isLeader$.next(true)
  }

  close(): void {
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

/** Any two tabs agree on which of them it is. */
export function outranks(a: Claim, b: Claim): boolean {
  if (a.visible !== b.visible) return a.visible
  return a.since === b.since ? a.id > b.id : a.since > b.since
}
