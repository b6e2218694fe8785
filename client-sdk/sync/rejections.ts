import type { RxDatabase } from 'rxdb'
import { map, type Observable } from 'rxjs'
import { readAgain } from '../runtime/back-off.ts'
import type { FieldErrors } from '../runtime/client-error.ts'

/** A document in the state that was pushed. */
export interface PushedDocument {
  id: string
  _deleted: boolean
  [field: string]: unknown
}

export interface PushedRow {
  newDocumentState: PushedDocument
  assumedMasterState?: PushedDocument
}

/** A rejected edit, with the document as written by the user. */
export interface RejectedEdit {
  resource: string
  id: string
  code: string
  errors: FieldErrors
  /** The document as written by the user. */
  document: PushedDocument
  /** The state before the edit; null for a new document. */
  previous: PushedDocument | null
  rejected_at: string
}

/** The code of an edit that a proxy or firewall blocks. */
export const REFUSED_ON_THE_WAY = 'refused_on_the_way'

/** The code of an edit on which the server fails, while it accepts others. */
export const SERVER_ERROR = 'server_error'

/** The code of an edit with fields that the server does not know yet. */
export const UNKNOWN_FIELD = 'unknown_field'

/** The code of an edit for which the account has no room. It waits for the user to make some. */
export const QUOTA_EXCEEDED = 'quota_exceeded'

/** Whether the server may accept the edit later as it is, so that nobody has to correct it. */
export const isEarly = ({ code }: { code: string }) =>
  code === UNKNOWN_FIELD || code === QUOTA_EXCEEDED

/** Whether the edit was only set aside: it is still in its document, unsent, and retried later. */
export function isSetAside({ code }: Pick<RejectedEdit, 'code'>): boolean {
  return code === REFUSED_ON_THE_WAY || code === SERVER_ERROR
}

interface Kept {
  rows: Record<string, RejectedEdit>
}

const DOCUMENT = 'rejected'

/**
 * The rejected edits of a user, kept until the user retries or discards them. The documents themselves are
 * rolled back to the server's state.
 */
export class Rejections {
  readonly all$: Observable<RejectedEdit[]>
  private readonly database: RxDatabase

  constructor(database: RxDatabase) {
    this.database = database
    this.all$ = database.getLocal$<Kept>(DOCUMENT).pipe(
      readAgain(database),
      map((kept) => Object.values(kept?.toJSON().data.rows ?? {}) as RejectedEdit[]),
    )
  }

  async all(): Promise<RejectedEdit[]> {
    const kept = await this.database.getLocal<Kept>(DOCUMENT)
    return Object.values(kept?.toJSON().data.rows ?? {}) as RejectedEdit[]
  }

  async add(edits: readonly RejectedEdit[]): Promise<void> {
    if (edits.length === 0) return
    await this.change((rows) => {
      for (const edit of edits) rows[keyOf(edit)] = edit
    })
  }

  /** Removes set-aside edits of these documents, which have now been sent. */
  async passed(resource: string, ids: readonly string[]): Promise<void> {
    await this.remove(resource, ids, isSetAside)
  }

  /** Removes all edits of these documents. */
  async drop(resource: string, ids: readonly string[]): Promise<void> {
    await this.remove(resource, ids, () => true)
  }

  /** Removes an edit, unless it was retried and rejected again since. */
  async forget(edit: RejectedEdit): Promise<void> {
    await this.change((rows) => {
      const key = keyOf(edit)
      if (rows[key]?.rejected_at === edit.rejected_at) delete rows[key]
    })
  }

  private async remove(
    resource: string,
    ids: readonly string[],
    isMeant: (edit: RejectedEdit) => boolean,
  ): Promise<void> {
    const keys = new Set(ids.map((id) => keyOf({ resource, id })))
    const isIn = (edit: RejectedEdit) => keys.has(keyOf(edit)) && isMeant(edit)
    if (keys.size === 0 || !(await this.all()).some(isIn)) return
    await this.change((rows) => {
      for (const edit of Object.values(rows)) if (isIn(edit)) delete rows[keyOf(edit)]
    })
  }

  private async change(edit: (rows: Kept['rows']) => void): Promise<void> {
    const kept =
      (await this.database.getLocal<Kept>(DOCUMENT)) ??
      (await this.database.upsertLocal<Kept>(DOCUMENT, { rows: {} }))
    await kept.incrementalModify((data: Kept) => {
      const rows = { ...data.rows }
      edit(rows)
      return { ...data, rows }
    })
  }
}

function keyOf({ resource, id }: Pick<RejectedEdit, 'resource' | 'id'>): string {
  return `${resource}/${id}`
}
