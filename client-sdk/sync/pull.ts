import { REPLICA_HEADER } from '../../protocol/headers.ts'
import { PULL_RESULT } from '../../protocol/media-types.ts'
import type { Checkpoint, PullResponse, ReplicaState } from '../../protocol/replication.ts'
import { shapes } from '../local/shapes.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api } from '../runtime/api.ts'
import { BatchSize } from './batch-size.ts'

/** The most that the server gives. It ends a page after about a megabyte, and compresses it. */
const MOST_DOCUMENTS = 2_000

/** A page of changes. */
export interface Page extends PullResponse {
  /** Whether there were no further changes at the time of the request. */
  isLast: boolean
}

interface PullOptions {
  api: Api
  /** The path of the resource, such as `/replication/tasks/0`. */
  path: string
  signal: AbortSignal
  patience?: number | undefined
}

/** Requests pages: smaller ones after a time-out, larger ones again while requests are quick. */
export class Pull {
  readonly size: BatchSize
  private readonly options: PullOptions

  constructor(options: PullOptions) {
    this.options = options
    this.size = new BatchSize(MOST_DOCUMENTS, options.patience)
  }

  /**
   * @param buckets only documents in these buckets of the digest
   * @throws ClientError
   */
  async page(
    token: string,
    checkpoint: Checkpoint | undefined,
    replica: ReplicaState,
    buckets?: readonly number[],
  ): Promise<Page> {
    const { api, path, signal } = this.options
    const asked = this.size.current
    const query = [`limit=${asked}`, ...(buckets ? [`buckets=${buckets}`] : [])]
    const accept = `${PULL_RESULT}, application/json`
    const request = { token, signal, accept, isAnswer: isPage, headers: headersOf(replica) }
    const page = await this.size.learnFrom(asked, () =>
      api<PullResponse>(`${path}/pull?${queryOf(checkpoint, query)}`, request),
    )
    // Older servers do not say it.
    const hasMore = page.has_more ?? page.documents.length >= asked
    return { ...page, isLast: !hasMore }
  }
}

/** The query of a cursor, which is undefined at the start, and of other parameters. */
export function queryOf(cursor: Checkpoint | undefined, others: readonly string[] = []): string {
  const own = cursor ? [`id=${encodeURIComponent(cursor.id)}`, `lwt=${cursor.lwt}`] : []
  return [...own, ...others].join('&')
}

export function headersOf(replica: ReplicaState): Record<string, string> {
  return { [REPLICA_HEADER]: JSON.stringify(replica) }
}

const isPage = isShaped(shapes.pull)
