import {
  type Document,
  type PushRow,
  resources,
  settle,
  type WireDocument,
} from '../../protocol/index.ts'

/** The rows of a device that made these documents. */
export const created = (documents: readonly Document[]): PushRow[] =>
  documents.map((document) => ({ newDocumentState: onTheWire(document) }))

/** The rows of a device that has since given each of them another title. */
export function changed(documents: readonly Document[]): PushRow[] {
  const now = new Date().toISOString()
  return documents.map((document) => {
    const next = { ...document, title: `${document.title}, or so`, updated_at: now }
    return {
      newDocumentState: onTheWire(settle(resources.tasks, next, document, now)),
      assumedMasterState: onTheWire(document),
    }
  })
}

/** Batches of so many rows, as the bodies of requests. */
export function bodiesOf(rows: readonly PushRow[], size: number): string[] {
  const bodies: string[] = []
  for (let from = 0; from < rows.length; from += size)
    bodies.push(JSON.stringify(rows.slice(from, from + size)))
  return bodies
}

const onTheWire = (document: Document): WireDocument => ({ ...document, _deleted: false })
