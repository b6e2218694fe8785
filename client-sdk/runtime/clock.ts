/** The resolution of the `Date` header. */
const RESOLUTION_MS = 1_000
const TOLERANCE_MS = 2_000

/** A measured offset of a device's clock. */
export interface ClockOffset {
  offset: number
  /** The time of the measurement, by the device's clock. */
  at: number
}

/**
 * The time, corrected by the server's if the device's clock is wrong. With a fast clock every edit would
 * come back as a conflict; with a slow one the device would lose every merge.
 */
export class Clock {
  /** Milliseconds to add to the device's clock. */
  offset = 0
  readonly device: () => number
  /** Called with each new offset. */
  onOffset: (offset: ClockOffset) => void = () => {}

  constructor(device: () => number) {
    this.device = device
  }

  /** Restores the offset from before a restart, unless the clock was set back since. */
  restore({ offset, at }: ClockOffset): void {
    if (at <= this.device()) this.offset = offset
  }

  now(): number {
    return this.device() + this.offset
  }

  /**
   * The server wrote the date at some time after the request. Takes the least offset that fits: slightly
   * behind the server is better than ahead.
   *
   * @param askedAt the time of the request, by the device's clock
   */
  learn(date: string | null, askedAt: number): void {
    const time = Date.parse(date ?? '')
    const [least, most] = [time - this.device(), time + RESOLUTION_MS - askedAt]
    const isOff = (offset: number) => offset < least - TOLERANCE_MS || offset > most + TOLERANCE_MS
    if (!isOff(this.offset)) return
    this.offset = isOff(0) ? least : 0
    this.onOffset({ offset: this.offset, at: this.device() })
  }
}
