import { canonical } from './canonical.ts'
import { BASES, fnv1a } from './fnv1a.ts'
import type { Resource } from './resource.ts'

/** A difference is located to one of so many groups of documents. */
export const BUCKETS = 256
const LANES = BASES.length

type Digested = Pick<Resource, 'fields' | 'fieldNames'>
type Content = Readonly<Record<string, unknown>> & { readonly id: string }

/**
 * The digest of a set of documents, the same in any order and computed alike on both ends. It detects faults,
 * not forgery. README.md describes the format.
 *
 * Each bucket is the sum of the hashes of its documents. A sum needs hashes whose bits are all mixed: two
 * documents that swap their last characters would otherwise often leave it as it is.
 */
export class Digest {
  private readonly resource: Digested
  /** The names of all fields, in the order of the hashed text. */
  private readonly names: readonly string[]
  private readonly sums = new Uint32Array(BUCKETS * LANES)

  constructor(resource: Digested) {
    this.resource = resource
    this.names = ['id', ...resource.fieldNames, 'created_at', 'updated_at'].sort()
  }

  /** Adds a document, which must not be a tombstone: the server deletes those at some time. */
  add(document: Content): void {
    const text = this.textOf(document)
    this.addTo(document.id, (lane) => mixed(fnv1a(text, BASES[lane]!)))
  }

  /** Makes the bucket of a document differ from any that has only valid documents. */
  spoil({ id }: { id: string }): void {
    this.addTo(id, () => 1)
  }

  /** Whether two documents have the same digest. */
  isSame(a: Content, b: Content): boolean {
    return this.textOf(a) === this.textOf(b)
  }

  /** The digest of each bucket. */
  get buckets(): string[] {
    return Array.from({ length: BUCKETS }, (_, bucket) =>
      textOf(this.sums.subarray(bucket * LANES, (bucket + 1) * LANES)),
    )
  }

  /** The digest of all documents. */
  get total(): string {
    const total = new Uint32Array(LANES)
    this.sums.forEach((sum, i) => {
      total[i % LANES]! += sum
    })
    return textOf(total)
  }

  private addTo(id: string, hashOf: (lane: number) => number): void {
    const first = bucketOf(id) * LANES
    for (let lane = 0; lane < LANES; lane++) this.sums[first + lane]! += hashOf(lane)
  }

  private textOf(document: Content): string {
    const { fields } = this.resource
    return JSON.stringify(
      this.names.map((name) => {
        const field = fields[name]
        return field ? canonical(field, document[name]) : document[name]
      }),
    )
  }
}

/** The bucket of a document: the last byte of its id. */
export function bucketOf(id: string): number {
  return Number.parseInt(id.slice(-2), 16) & (BUCKETS - 1)
}

/** The finalizer of MurmurHash3: each bit of the result depends on all bits. */
function mixed(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function textOf(sums: Uint32Array): string {
  return [...sums].map((sum) => sum.toString(16).padStart(8, '0')).join('')
}
