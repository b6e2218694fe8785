/** The FNV-1a hash of the UTF-16 code units of a text, as an unsigned 32-bit number. Not for secrets. */
export function fnv1a(input: string, basis: number): number {
  let hash = basis
  for (let i = 0; i < input.length; i++) hash = Math.imul(hash ^ input.charCodeAt(i), PRIME)
  return hash >>> 0
}

const PRIME = 0x01000193

/** The bases of two hashes of one text. */
export const BASES = [0x811c9dc5, 0x01000193] as const
