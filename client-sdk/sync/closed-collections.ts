import type { RxDatabase } from 'rxdb'
import type { Collections } from '../local/collections.ts'
import { closedCollections, openCollection } from '../local/database.ts'
import { resources } from '../local/resources.ts'
import { DocumentStates } from './document-states.ts'

/** The number of unsent edits in collections that an earlier run of the app opened, and this one did not. */
export async function unsentInClosed(database: RxDatabase<Collections>): Promise<number> {
  let count = 0
  for (const name of await closedCollections(database)) {
    if (resources[name].readOnly) continue
    const collection = await openCollection(database, name)
    try {
      const states = await DocumentStates.open(collection, resources[name])
      for await (const ids of states.pagesOfIds()) count += (await states.unsent(ids)).length
      await states.close()
    } finally {
      await collection.close()
    }
  }
  return count
}
