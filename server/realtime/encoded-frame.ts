import type { Checkpoint, WireDocument } from '../../protocol/index.ts'

/** Changes with more text are announced without documents, and clients pull. */
const MAX_FRAME_BYTES = 256 * 1024

type Documents = Readonly<Record<string, readonly WireDocument[]>>

/** What the subscribers of a frame share: each encoding is made once, however many they are. */
export interface EncodedFrame {
  /** The size of its documents as JSON. */
  readonly bytes: number
  /** Its documents of one resource as a server-sent event; undefined if it has none. */
  event(resource: string): Buffer | undefined
}

/** @returns undefined if the documents are too large for a frame */
export function encode(documents: Documents, checkpoint: Checkpoint): EncodedFrame | undefined {
  const texts = new Map<string, string>()
  let bytes = 0
  for (const [name, some] of Object.entries(documents)) {
    const parts: string[] = []
    for (const document of some) {
      const text = JSON.stringify(document)
      bytes += Buffer.byteLength(text)
      if (bytes > MAX_FRAME_BYTES) return undefined
      parts.push(text)
    }
    texts.set(name, `[${parts}]`)
  }
  const end = `,"checkpoint":${JSON.stringify(checkpoint)}}\n\n`
  const events = new Map<string, Buffer>()
  return {
    bytes,
    event(resource) {
      const text = texts.get(resource)
      if (text === undefined) return undefined
      const event = events.get(resource) ?? Buffer.from(`data: {"documents":${text}${end}`)
      events.set(resource, event)
      return event
    },
  }
}
