import { atEnd } from '../support/at-end.ts'
import type { TestDatabase } from '../support/database.ts'
import { type Line, openLine } from '../support/line.ts'
import { type Caller, callerTo, type Person, startServer } from '../support/server.ts'
import { startNode, type WebNode } from '../support/web-node.ts'

/** A node, and its own line to the database. */
export interface Place extends WebNode {
  line: Line
}

export interface Stage {
  database: TestDatabase
  places: Place[]
  /** New users with a session, who call whichever node they are asked to. */
  people(count: number): Promise<Actor[]>
}

export interface Actor extends Pick<Person, 'id' | 'access'> {
  at(place: Pick<Place, 'url'>): Caller
}

/** A database, and so many nodes as processes, each on a line of its own. All are gone after the story. */
export async function setStage({
  nodes = 1,
  environment = {},
}: {
  nodes?: number
  environment?: Record<string, string>
} = {}): Promise<Stage> {
  // People register here: its hashes are cheap, and no line of it fails.
  const home = await startServer()
  atEnd(home.stop)
  const database = home.testDatabase
  const places = await Promise.all(
    Array.from({ length: nodes }, async () => {
      const line = await lineTo(database.url)
      const node = await startNode({ DATABASE_URL: line.url, ...environment })
      atEnd(node.close)
      return { ...node, line }
    }),
  )
  return { database, places, people }

  async function people(count: number): Promise<Actor[]> {
    const persons = await Promise.all(Array.from({ length: count }, () => home.person()))
    return persons.map(({ id, access }) => ({
      id,
      access,
      at: ({ url }) => callerTo(url, { authorization: `Bearer ${access}` }),
    }))
  }
}

export async function lineTo(databaseUrl: string): Promise<Line> {
  const line = await openLine(databaseUrl)
  atEnd(line.close)
  return line
}
