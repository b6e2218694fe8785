import { type Resource, resourceNamed } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { indexSearch } from '../store/search-index.ts'

export const INDEX_SEARCH = 'index_search'

interface Payload {
  user: string
  resource: string
}

/** Queues the job that indexes what a person's searches have to read. */
export async function indexSoon(db: Database, user: string, { name }: Resource): Promise<void> {
  const payload: Payload = { user, resource: name }
  await addJob(db, INDEX_SEARCH, payload, { key: `${INDEX_SEARCH} ${user} ${name}` })
}

/** The job. It is repeated if something was deleted for good meanwhile. */
export const indexing = (db: Database) => (payload: unknown) => {
  const { user, resource } = payload as Payload
  return indexSearch(db, user, resourceNamed(resource))
}
