/** How long things took, in milliseconds. */
export interface Latencies {
  count: number
  p50: number
  p99: number
}

export function summary(latencies: readonly number[]): Latencies {
  const sorted = Float64Array.from(latencies).sort()
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  return { count: sorted.length, p50: at(0.5) ?? Number.NaN, p99: at(0.99) ?? Number.NaN }
}
