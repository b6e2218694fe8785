import { BASES, fnv1a } from '../../protocol/fnv1a.ts'

/**
 * The hash for RxDB's internal record names; not for secrets. RxDB's default is SHA-256 with
 * `crypto.subtle`, which React Native and pages without HTTPS lack. This is FNV-1a, twice.
 */
export async function hash(input: string): Promise<string> {
  return BASES.map((basis) => hex(fnv1a(input, basis))).join('')
}

const hex = (number: number) => number.toString(16).padStart(8, '0')
