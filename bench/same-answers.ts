import { isDeepStrictEqual } from 'node:util'
import { type OperationName, okStatus, operationNames } from './operations.ts'
import { askOnce, type ServerProcess, type Stage } from './stage.ts'

/** What differs between two creations, or two edits, of the same. */
const OWN: Record<OperationName, readonly string[]> = {
  list: [],
  get: [],
  create: ['id', 'created_at', 'updated_at', 'position'],
  patch: ['title', 'updated_at'],
}

/**
 * Makes sure that the two servers do the same: same status, same JSON down to the order of the keys,
 * and a write of either moves the feed by one.
 */
export async function expectSameAnswers(stage: Stage): Promise<void> {
  for (const operation of operationNames) {
    const [ours, bare] = [await answer(stage, stage.ours), await answer(stage, stage.bare)]
    if (!isDeepStrictEqual(ours, bare))
      throw new Error(
        `The servers differ on ${operation}:\n${JSON.stringify(ours)}\n${JSON.stringify(bare)}`,
      )

    async function answer({ people, db }: Stage, server: ServerProcess) {
      const person = people[0]!
      const before = await changesSoFar(db)
      const { status, text } = await askOnce(server.url, operation, person, 1)
      if (status !== okStatus[operation]) throw new Error(`${operation} gives ${status}: ${text}`)
      const document = JSON.parse(text.replaceAll(server.url, ''))
      for (const field of OWN[operation]) document[field] = 'its own'
      const changes = (await changesSoFar(db)) - before
      return { status, text: JSON.stringify(document), changes }
    }
  }
}

async function changesSoFar(db: Stage['db']): Promise<number> {
  const [total] = await db('feeds').sum({ changes: 'seq' })
  return Number(total!.changes)
}
