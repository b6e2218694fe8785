import { type Database, run } from '../database/connect.ts'
import { type Known, keyOf, type Positions } from '../sync/positions.ts'

/** A device that pulls all the time costs one write in this time. */
const WRITE_MS = 60_000
/** Notes of so many sessions are kept until they are written; those of others are lost. */
const MAX_NOTED = 50_000

const WRITE = {
  name: 'tasktide_note_positions',
  text: 'update sessions set feed_positions = feed_positions || $3::jsonb where user_id = $1 and id = $2',
}

const READ = {
  name: 'tasktide_positions',
  text: `
    select id, feed_positions from sessions
    where user_id = $1 and revoked_at is null and feed_positions <> '{}'`,
}

/** Positions in the rows of sessions, written behind. A node that is killed loses those of the last minute. */
export function postgresPositions(db: Database, now: () => Date) {
  const noted = new Map<string, { user: string; known: Known }>()
  let writing: Promise<void> | undefined
  const timer = setInterval(write, WRITE_MS).unref()

  const positions: Positions = {
    note({ user, session }, way, resource, part) {
      if (noted.size >= MAX_NOTED && !noted.has(session)) return
      const at = now().toISOString()
      const known = { ...noted.get(session)?.known, [keyOf(way, resource)]: { ...part, at } }
      noted.set(session, { user, known })
    },

    async of(user) {
      const rows = await run<[string, Known]>(db, READ, [user])
      const found = new Map(rows)
      for (const [session, one] of noted)
        if (one.user === user) found.set(session, { ...found.get(session), ...one.known })
      return found
    },
  }
  return {
    ...positions,
    write,
    async stop() {
      clearInterval(timer)
      await write()
    },
  }

  function write(): Promise<void> {
    writing ??= writeAll().finally(() => {
      writing = undefined
    })
    return writing
  }

  /** One after the other, so that requests keep the other connections. */
  async function writeAll(): Promise<void> {
    for (const [session, { user, known }] of [...noted]) {
      noted.delete(session)
      try {
        await run(db, WRITE, [user, session, JSON.stringify(known)])
      } catch {
        // Next time, with what has been noted since.
        noted.set(session, { user, known: { ...known, ...noted.get(session)?.known } })
        return
      }
    }
  }
}
