import { PATIENCE_MS } from '../runtime/api.ts'
import { ClientError } from '../runtime/client-error.ts'
import { elapsed } from '../runtime/environment.ts'

const SHRINK = 4
const GROW = 2
/** A larger batch must not time out. */
const QUICK_SHARE = 0.25

/**
 * Adapts the number of documents per request: fewer after a time-out, so that each attempt makes progress,
 * and more again while requests are quick.
 */
export class BatchSize {
  current: number
  private readonly most: number
  private readonly patience: number

  /** @param patience the time-out of a request, in milliseconds */
  constructor(most: number, patience = PATIENCE_MS) {
    this.current = most
    this.most = most
    this.patience = patience
  }

  /** Makes a request with a number of documents, and adapts that number. */
  async learnFrom<T>(count: number, request: () => Promise<T>): Promise<T> {
    const began = elapsed()
    try {
      const result = await request()
      this.succeeded(count, elapsed() - began)
      return result
    } catch (error) {
      if (error instanceof ClientError && error.isSlow) this.timedOut(count)
      throw error
    }
  }

  /** @param took milliseconds */
  succeeded(count: number, took = 0): void {
    const isQuick = took < this.patience * QUICK_SHARE
    if (isQuick && count >= this.current) this.current = Math.min(this.most, this.current * GROW)
  }

  timedOut(count = this.current): void {
    this.current = Math.max(1, Math.floor(Math.min(count, this.current) / SHRINK))
  }
}
