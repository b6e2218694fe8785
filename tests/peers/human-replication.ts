import { createRequire } from 'node:module'
import { v5 as uuidV5 } from 'uuid'

/**
 * The people of RxDB's test suite, kept in step by `replicateRxCollection` of RxDB 17: what an app
 * writes that has documents of its own kind, and neither the SDK nor rxdb-server.
 */
export interface Human {
  passportId: string
  firstName: string
  lastName: string
  age: number
  _deleted: boolean
}

export interface HumanCollection {
  storageInstance: {
    findDocumentsById(ids: string[], withDeleted: boolean): Promise<Written[]>
  }
}

interface Written extends Human {
  /** When this device wrote it: milliseconds since 1970. */
  _meta: { lwt: number }
}

interface HumanOnTheWire {
  id: string
  passport_id: string
  first_name: string
  last_name: string
  age: number
  _deleted: boolean
  updated_at?: string
}

interface Checkpoint {
  id: string
  lwt: number
}

interface Changes<Document> {
  documents: Document[]
  checkpoint: Checkpoint
}

interface Row {
  newDocumentState: Human
  assumedMasterState?: Human
}

const load = createRequire(import.meta.url)
const { EventSource } = load('eventsource')
const { replicateRxCollection } = load('rxdb-17/plugins/replication')
const { Subject } = load('rxjs')

/** @param url of the replication endpoints, such as `…/replication/humans/0` */
export function replicateHumans(
  collection: HumanCollection,
  url: string,
  access: string,
  { live }: { live: boolean },
) {
  const events = new Subject()
  const replication = replicateRxCollection({
    collection,
    replicationIdentifier: url,
    live,
    waitForLeadership: false,
    pull: {
      handler: (checkpoint: Checkpoint | undefined, limit: number) =>
        humansFrom(url, access, checkpoint, limit),
      stream$: events,
    },
    push: {
      async handler(rows: Row[]): Promise<Human[]> {
        const edits = await editsOf(collection, rows)
        const conflicts = await ask<HumanOnTheWire[]>(`${url}/push`, access, edits)
        return conflicts.map(human)
      },
    },
  })
  if (live) {
    const stream = new EventSource(`${url}/pullStream`, {
      fetch: (input: string, init: RequestInit) =>
        fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${access}` } }),
    })
    const pull = () => events.next('RESYNC')
    stream.addEventListener('open', pull)
    stream.addEventListener('error', pull)
    stream.addEventListener('message', ({ data }: { data: string }) => {
      events.next(toHumans(JSON.parse(data)))
    })
    replication.canceled$.subscribe((isCanceled: boolean) => isCanceled && stream.close())
  }
  return replication
}

/** The changes after a checkpoint; without one, all that there is, tombstones included. */
export async function humansFrom(
  url: string,
  access: string,
  { id, lwt }: Checkpoint = { id: '', lwt: 0 },
  limit = 2000,
): Promise<Changes<Human>> {
  return toHumans(await ask(`${url}/pull?id=${id}&lwt=${lwt}&limit=${limit}`, access))
}

/** The rows as the server wants them, each with the moment of its edit. */
async function editsOf({ storageInstance }: HumanCollection, rows: Row[]) {
  const ids = rows.map(({ newDocumentState }) => newDocumentState.passportId)
  const written = await storageInstance.findDocumentsById(ids, true)
  const writtenAt = new Map(written.map(({ passportId, _meta }) => [passportId, _meta.lwt]))
  return rows.map(({ newDocumentState: next, assumedMasterState: assumed }) => ({
    newDocumentState: {
      ...onTheWire(next),
      updated_at: new Date(writtenAt.get(next.passportId)!).toISOString(),
    },
    ...(assumed && { assumedMasterState: onTheWire(assumed) }),
  }))
}

/** Our ids are UUIDs, so every device has to make the same one of a passport's. */
const PASSPORTS = '6d5b1a52-5f0e-4b8a-9f3c-0a9d6f1c7e21'

function onTheWire({ passportId, firstName, lastName, age, _deleted }: Human): HumanOnTheWire {
  return {
    id: uuidV5(passportId, PASSPORTS),
    passport_id: passportId,
    first_name: firstName,
    last_name: lastName,
    age,
    _deleted,
  }
}

function human({ passport_id, first_name, last_name, age, _deleted }: HumanOnTheWire): Human {
  return { passportId: passport_id, firstName: first_name, lastName: last_name, age, _deleted }
}

const toHumans = ({ documents, checkpoint }: Changes<HumanOnTheWire>): Changes<Human> => ({
  documents: documents.map(human),
  checkpoint,
})

async function ask<Answer>(url: string, access: string, body?: unknown): Promise<Answer> {
  const response = await fetch(url, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${access}` },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  return (await response.json()) as Answer
}
