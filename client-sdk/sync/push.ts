import { PUSH_RESULT } from '../../protocol/media-types.ts'
import type { ProblemCode } from '../../protocol/problem.ts'
import type {
  Checkpoint,
  PushResponse,
  Rejection as RejectedRow,
  ReplicaState,
  WireDocument,
} from '../../protocol/replication.ts'
import { shapes } from '../local/shapes.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api } from '../runtime/api.ts'
import { ClientError } from '../runtime/client-error.ts'
import { elapsed } from '../runtime/environment.ts'
import { BatchSize } from './batch-size.ts'
import { headersOf, queryOf } from './pull.ts'
import {
  isEarly,
  type PushedDocument,
  type PushedRow,
  QUOTA_EXCEEDED,
  REFUSED_ON_THE_WAY,
  SERVER_ERROR,
  UNKNOWN_FIELD,
} from './rejections.ts'

type Fields = Readonly<Record<string, unknown>>

const MOST_ROWS = 200
const COMMON_FIELDS = ['id', 'created_at', 'updated_at', '_deleted']
/** When a set-aside row is retried. */
const TRY_AGAIN_MS = 10 * 60_000
/** With this many blocked rows and none accepted, the connection is at fault. */
const MOST_SUSPECTS = 5
/** Consecutive server errors before a row is suspected. */
const MOST_FAILURES = 2
/** Consecutive broken connections before a row is suspected; more, because they also break by chance. */
const MOST_CUTS = 3

/** Why a row was not accepted: a code of the server, `refused_on_the_way` or `server_error`. */
export type Rejection = Omit<RejectedRow, 'code'> & { code: string }

/** The result of a batch: every row is in `answered`, `setAside` or `rest`. */
export interface Pushed {
  /** Rows that the server has answered. It has accepted those that are not in `rejected`. */
  answered: PushedRow[]
  /** Stored states that differ from the pushed ones; for a row in `rejected`, the state to roll back to. */
  conflicts: WireDocument[]
  /** Rows that the server rejected. */
  rejected: Rejection[]
  /** Rows that did not get through, while others did, or not yet. They are still unsent: see `isAside`. */
  setAside: Rejection[]
  /** Rows that are still unsent, because the connection broke after others were answered. */
  rest: PushedRow[]
  /** How far the feed has to be that contains what was answered. */
  checkpoint?: Checkpoint | undefined
}

/** What the rows are based on. */
interface PushBase {
  /** Of what they assume to be stored. */
  cursor: Checkpoint | undefined
  replica: ReplicaState
}

export interface PushOptions {
  api: Api
  /** The path of the resource, such as `/replication/tasks/0`. */
  path: string
  signal: AbortSignal
  patience?: number | undefined
  /** The resource, as far as the app knows it. */
  resource: { readonly fieldNames: readonly string[]; readonly initial: Fields }
  /** Called when set-aside rows may be retried. */
  due?: () => void
}

/**
 * Sends edits, and finds the row at fault when a batch fails as a whole: the batch is halved until that row
 * is alone. Then:
 *
 * - the server rejects the row: it is rejected;
 * - the server is older and does not know a field of the app: the row is sent without it, or, if the edit has
 *   changed that field, set aside and retried later;
 * - the account is full: the row is set aside and retried later;
 * - a proxy or firewall blocks the row, for its text: it is set aside and retried later, if it was blocked
 *   twice and the server has answered in between;
 * - the connection breaks: the same, after three times in a row with an accepted empty push after each;
 * - the network blocks everything (a captive portal): no row is at fault;
 * - the server fails twice in a row and answers an empty push: the row is set aside like a blocked one.
 */
export class Push {
  readonly size: BatchSize
  private readonly options: PushOptions
  /** Set-aside rows by id. An edit of the row or the end of the time ends this. */
  private readonly aside = new Map<string, { state: string; until: number; code: string }>()
  private timer: ReturnType<typeof setTimeout> | undefined
  /** Consecutive server errors for pushes with rows. */
  private failures = 0
  /** Consecutive broken connections while rows were sent, each followed by an accepted empty push. */
  private cuts = 0

  constructor(options: PushOptions) {
    this.options = options
    this.size = new BatchSize(MOST_ROWS, options.patience)
    options.signal.addEventListener('abort', () => clearTimeout(this.timer))
  }

  /** @throws ClientError when no row was answered */
  async send(
    token: string,
    rows: readonly PushedRow[],
    base: PushBase = { cursor: undefined, replica: {} },
  ): Promise<Pushed> {
    const attempt = new Attempt(
      rows,
      this.size,
      (batch) => this.askWithKnown(token, batch, base),
      (error) => this.isRepeated(error),
    )
    const pushed = await attempt.run()
    for (const { newDocumentState } of pushed.answered) this.aside.delete(newDocumentState.id)
    // A deletion makes room.
    if (pushed.answered.some(({ newDocumentState }) => newDocumentState._deleted))
      for (const [id, { code }] of this.aside) if (code === QUOTA_EXCEEDED) this.aside.delete(id)
    this.setAside(rows, pushed.setAside)
    return pushed
  }

  /** Whether this row is set aside in exactly this state. */
  isAside({ newDocumentState }: PushedRow): boolean {
    const found = this.aside.get(newDocumentState.id)
    if (!found || found.until <= elapsed()) return false
    return found.state === JSON.stringify(newDocumentState)
  }

  get asideCount(): number {
    return this.aside.size
  }

  /** Why rows are set aside: `refused_on_the_way` unless the same holds for all of them. */
  get asideCode(): string {
    const codes = new Set([...this.aside.values()].map(({ code }) => code))
    const [code = REFUSED_ON_THE_WAY] = codes
    return codes.size === 1 ? code : REFUSED_ON_THE_WAY
  }

  /** Lets all set-aside rows be retried at once, for example on another network. */
  forgetAside(): void {
    this.aside.clear()
  }

  private setAside(rows: readonly PushedRow[], rejections: readonly Rejection[]): void {
    if (rejections.length === 0) return
    const codes = new Map(rejections.map(({ id, code }) => [id, code]))
    const until = elapsed() + TRY_AGAIN_MS
    for (const { newDocumentState } of rows) {
      const code = codes.get(newDocumentState.id)
      const state = JSON.stringify(newDocumentState)
      if (code !== undefined) this.aside.set(newDocumentState.id, { state, until, code })
    }
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.options.due?.(), TRY_AGAIN_MS + 1)
  }

  /** What the server does not know and the edit has not changed is left out. */
  private async askWithKnown(
    token: string,
    batch: readonly PushedRow[],
    base: PushBase,
  ): Promise<PushAnswer> {
    const answer = await this.ask(token, batch, base)
    const narrow = batch.flatMap((row) => this.withoutUnknown(row, answer.rejected) ?? [])
    if (narrow.length === 0) return answer
    const again = await this.ask(token, narrow, base)
    const ids = new Set(narrow.map(({ newDocumentState }) => newDocumentState.id))
    const isOther = ({ id }: { id: string }) => !ids.has(id)
    return {
      checkpoint: again.checkpoint ?? answer.checkpoint,
      conflicts: [...answer.conflicts.filter(isOther), ...again.conflicts],
      rejected: [...answer.rejected.filter(isOther), ...again.rejected],
    }
  }

  private withoutUnknown(row: PushedRow, rejected: readonly Rejection[]): PushedRow | undefined {
    const { newDocumentState: next, assumedMasterState: assumed } = row
    const { code, unknown_fields: names = [] } = rejected.find(({ id }) => id === next.id) ?? {}
    if (code !== UNKNOWN_FIELD || names.length === 0) return undefined
    const before = { ...this.options.resource.initial, ...assumed }
    if (!names.every((name) => isSame(next[name], before[name]))) return undefined
    return {
      newDocumentState: omit(next, names),
      ...(assumed && { assumedMasterState: omit(assumed, names) }),
    }
  }

  private async ask(
    token: string,
    batch: readonly PushedRow[],
    { cursor, replica }: PushBase,
  ): Promise<PushAnswer> {
    const { api, path, signal } = this.options
    const headers = headersOf(replica)
    const request = { method: 'POST', token, body: batch, accept: PUSH_RESULT, headers, signal }
    try {
      const answer = await this.size.learnFrom(batch.length, () =>
        api<PushResponse>(`${path}/push?${queryOf(cursor)}`, {
          ...request,
          isAnswer: isPushAnswer,
        }),
      )
      if (batch.length > 0) {
        this.failures = 0
        this.cuts = 0
      }
      return { ...answer, rejected: answer.rejected.map((one) => this.judged(one, batch)) }
    } catch (error) {
      if (batch.length === 0) this.cuts = 0
      else if (isServerError(error)) this.failures++
      else if (isCutOff(error)) this.cuts++
      throw error
    }
  }

  /** A field that the app does not know either is its own fault: no update of the server will help. */
  private judged(rejection: Rejection, batch: readonly PushedRow[]): Rejection {
    if (rejection.code !== UNKNOWN_FIELD) return rejection
    const known = new Set([...this.options.resource.fieldNames, ...COMMON_FIELDS])
    const row = batch.find(({ newDocumentState }) => newDocumentState.id === rejection.id)
    const isKnown = Object.keys(row?.newDocumentState ?? {}).every((name) => known.has(name))
    return isKnown ? rejection : { ...rejection, code: 'invalid' }
  }

  /** Whether the error has occurred often enough in a row to suspect one of the rows. */
  private isRepeated(error: unknown): boolean {
    return isCutOff(error) ? this.cuts >= MOST_CUTS : this.failures >= MOST_FAILURES
  }
}

const isSame = (one: unknown, other: unknown) =>
  JSON.stringify(one ?? null) === JSON.stringify(other ?? null)

function omit(document: PushedDocument, names: readonly string[]): PushedDocument {
  const kept = Object.entries(document).filter(([name]) => !names.includes(name))
  return Object.fromEntries(kept) as PushedDocument
}

/** The state to which a rejected row is rolled back: that of the server, or a tombstone. */
function formerOf({ newDocumentState, assumedMasterState }: PushedRow): WireDocument {
  return (assumedMasterState ?? { ...newDocumentState, _deleted: true }) as WireDocument
}

/** As the server gives it, or as it is in the place of that. */
type PushAnswer = Pick<Pushed, 'conflicts' | 'rejected' | 'checkpoint'>

type Ask = (batch: readonly PushedRow[]) => Promise<PushAnswer>

/** One call of `send`. */
class Attempt {
  private readonly pushed: Pushed = {
    answered: [],
    conflicts: [],
    rejected: [],
    setAside: [],
    rest: [],
  }
  /** Not answered yet, in order. */
  private batches: PushedRow[][]
  /** Rows that failed once when sent alone. */
  private suspects: PushedRow[] = []
  private isFromFront = true
  private isOpen = false
  private readonly size: BatchSize
  private readonly ask: Ask
  private readonly isRepeated: (error: unknown) => boolean

  /** @param isRepeated whether an error that also occurs by chance was repeated often enough to suspect a row */
  constructor(
    rows: readonly PushedRow[],
    size: BatchSize,
    ask: Ask,
    isRepeated: (error: unknown) => boolean,
  ) {
    this.batches = [[...rows]]
    this.size = size
    this.ask = ask
    this.isRepeated = isRepeated
  }

  async run(): Promise<Pushed> {
    try {
      while (this.batches.length > 0) await this.next()
      while (this.suspects.length > 0) await this.tryAgain(this.suspects[0]!)
    } catch (error) {
      const { answered, setAside } = this.pushed
      if (answered.length + setAside.length === 0) throw error
    }
    return { ...this.pushed, rest: [...this.suspects, ...this.batches.flat()] }
  }

  private async next(): Promise<void> {
    const batch = this.isFromFront ? this.batches[0]! : this.batches.at(-1)!
    if (batch.length > this.size.current) return this.split(batch, this.size.current)
    try {
      this.record(batch, await this.ask(batch))
      this.remove(batch)
    } catch (error) {
      const isRowsFault = isJudgement(error)
      if (!isRowsFault) await this.seeThatOthersPass(error)
      if (batch.length > 1) return this.split(batch, Math.ceil(batch.length / 2))
      this.remove(batch)
      if (isRowsFault) this.reject(batch[0]!, error)
      else this.suspect(batch[0]!, error)
    }
  }

  private split(batch: PushedRow[], size: number): void {
    const at = this.batches.indexOf(batch)
    this.batches.splice(at, 1, batch.slice(0, size), batch.slice(size))
  }

  private remove(batch: PushedRow[]): void {
    this.batches = this.batches.filter((one) => one !== batch)
  }

  private record(
    batch: readonly PushedRow[],
    { conflicts, rejected, checkpoint }: PushAnswer,
  ): void {
    const early = new Map(rejected.filter(isEarly).map((one) => [one.id, one]))
    const answered = batch.filter(({ newDocumentState }) => !early.has(newDocumentState.id))
    const ids = new Set(answered.map(({ newDocumentState }) => newDocumentState.id))
    if (checkpoint) this.pushed.checkpoint = checkpoint
    this.pushed.answered.push(...answered)
    this.pushed.conflicts.push(...conflicts.filter(({ id }) => !early.has(id)))
    this.pushed.rejected.push(...rejected.filter(({ id }) => ids.has(id)))
    for (const row of batch) {
      const { code } = early.get(row.newDocumentState.id) ?? {}
      if (code !== undefined) this.setAside(row, code as keyof typeof SET_ASIDE)
    }
  }

  private reject(row: PushedRow, { code, errors }: ClientError): void {
    const { id } = row.newDocumentState
    this.record([row], { conflicts: [formerOf(row)], rejected: [{ id, code, errors }] })
  }

  /** Continues from the other end, which finds accepted rows sooner. */
  private suspect(row: PushedRow, error: unknown): void {
    this.suspects.push(row)
    this.isFromFront = !this.isFromFront
    if (this.suspects.length >= MOST_SUSPECTS && this.pushed.answered.length === 0) throw error
  }

  /**
   * Checks with an empty push to the same URL: if that fails too, the rows are not the cause.
   *
   * @throws the error, unless a row may be its cause and the empty push passes
   */
  private async seeThatOthersPass(error: unknown): Promise<void> {
    const isCut = isCutOff(error)
    if (!isRefusedOnTheWay(error) && !isServerError(error) && !isCut) throw error
    const isSuspicious = this.isOpen || isRefusedOnTheWay(error) || this.isRepeated(error)
    if (!isSuspicious && !isCut) throw error
    if (!this.isOpen || isCut) await this.ask([])
    if (!isSuspicious) throw error
    this.isOpen = true
  }

  private async tryAgain(row: PushedRow): Promise<void> {
    await this.ask([])
    try {
      this.record([row], await this.ask([row]))
    } catch (error) {
      if (isJudgement(error)) this.reject(row, error)
      else if (isRefusedOnTheWay(error) || isCutOff(error)) this.setAside(row, REFUSED_ON_THE_WAY)
      else if (isServerError(error)) this.setAside(row, SERVER_ERROR)
      else throw error
    }
    this.suspects = this.suspects.filter((one) => one !== row)
  }

  private setAside({ newDocumentState }: PushedRow, code: keyof typeof SET_ASIDE): void {
    const errors = { '': [SET_ASIDE[code]] }
    this.pushed.setAside.push({ id: newDocumentState.id, code, errors })
  }
}

const SET_ASIDE = {
  [REFUSED_ON_THE_WAY]:
    'A proxy or firewall between this device and the server blocked this change.',
  [SERVER_ERROR]: 'The server failed to process this change. It will be retried later.',
  [UNKNOWN_FIELD]: 'The server is older than this app. This change is sent once it is updated.',
  [QUOTA_EXCEEDED]: 'The account is full. This change is sent once there is room.',
}

/** Problems of the server that rows can cause. */
const JUDGEMENTS: readonly ProblemCode[] = ['invalid', 'too_large']

function isJudgement(error: unknown): error is ClientError {
  return error instanceof ClientError && JUDGEMENTS.includes(error.code as ProblemCode)
}

/** Statuses that are not about the content of a request. */
const NOT_ABOUT_CONTENT = [401, 407, 408, 425, 429]

/**
 * Whether a proxy or firewall blocked this request, but may not block others. A request that the server
 * cannot parse was changed by one of them.
 */
function isRefusedOnTheWay(error: unknown): boolean {
  if (!(error instanceof ClientError)) return false
  const { code, status = 0 } = error
  if (code === 'malformed') return true
  return code === 'foreign_answer' && status < 500 && !NOT_ABOUT_CONTENT.includes(status)
}

/** Whether the connection broke before a response, without a time-out. */
function isCutOff(error: unknown): boolean {
  return error instanceof ClientError && error.code === 'unreachable' && !error.isSlow
}

/**
 * Whether the server, or a proxy for it, reported an error. 503 is excluded, because it applies to all
 * requests.
 */
function isServerError(error: unknown): boolean {
  return error instanceof ClientError && (error.status ?? 0) >= 500 && error.status !== 503
}

const isPushAnswer = isShaped(shapes.push)
