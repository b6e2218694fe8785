import { REPLICA_HEADER } from '../../protocol/headers.ts'
import type { Checkpoint, PullResponse, ReplicaState } from '../../protocol/replication.ts'
import { shapes } from '../local/shapes.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api } from '../runtime/api.ts'
import { BatchSize } from './batch-size.ts'

const MOST_DOCUMENTS = 500

/** A part of what has changed on the server. */
export interface Page extends PullResponse {
  /** Nothing came after it when it was asked for. */
  isLast: boolean
}

export interface PullOptions {
  api: Api
  /** Of the resource, such as `/replication/tasks/0`. */
  path: string
  signal: AbortSignal
  patience?: number | undefined
}

/** Asks for pages: smaller ones after the line was too slow, larger ones again while it is quick. */
export class Pull {
  readonly size: BatchSize
  private readonly options: PullOptions

  constructor(options: PullOptions) {
    this.options = options
    this.size = new BatchSize(MOST_DOCUMENTS, options.patience)
  }

  /** @throws ClientError */
  async page(
    token: string,
    checkpoint: Checkpoint | undefined,
    replica: ReplicaState,
    limit?: number,
  ): Promise<Page> {
    const { api, path, signal } = this.options
    const asked = Math.min(limit ?? MOST_DOCUMENTS, this.size.current)
    const request = { token, signal, isAnswer: isPage, headers: headersOf(replica) }
    const page = await this.size.learnFrom(asked, () =>
      api<PullResponse>(`${path}/pull?${queryOf(checkpoint, [`limit=${asked}`])}`, request),
    )
    return { ...page, isLast: page.documents.length < asked }
  }
}

/** A cursor as it came, and other parameters. At the start there is none. */
export function queryOf(cursor: Checkpoint | undefined, others: readonly string[] = []): string {
  const own = cursor ? [`id=${encodeURIComponent(cursor.id)}`, `lwt=${cursor.lwt}`] : []
  return [...own, ...others].join('&')
}

export function headersOf(replica: ReplicaState): Record<string, string> {
  return { [REPLICA_HEADER]: JSON.stringify(replica) }
}

const isPage = isShaped(shapes.pull)
