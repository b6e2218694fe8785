/** A seeded random number generator: mulberry32, by Tommy Ettinger (public domain). */
export class Chance {
  private state: number

  constructor(seed: number) {
    // Without mixing, adjacent seeds give similar streams.
    this.state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  }

  /** At least 0 and less than 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  /** A whole number, both bounds included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  happens(probability: number): boolean {
    return this.next() < probability
  }

  one<T>(of: readonly T[]): T {
    return of[this.between(0, of.length - 1)]!
  }

  /** One of these names, with a probability proportional to its weight. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const entries = Object.entries<number>(weights)
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of entries) {
      left -= weight
      if (left < 0) return name as K
    }
    return entries.at(-1)![0] as K
  }

  uuid(): string {
    const hex = Array.from({ length: 32 }, () => this.between(0, 15).toString(16))
    hex[12] = '4'
    hex[16] = this.one(['8', '9', 'a', 'b'])
    const text = hex.join('')
    return [0, 8, 12, 16, 20].map((from, i, all) => text.slice(from, all[i + 1])).join('-')
  }
}
