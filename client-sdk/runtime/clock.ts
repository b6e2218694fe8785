/** The `Date` of an answer leaves out what goes beyond the second. */
const RESOLUTION_MS = 1_000
const TOLERANCE_MS = 2_000

/** What was learned of the clock of a device. */
export interface Reading {
  offset: number
  /** When, by the clock of the device. */
  at: number
}

/**
 * The time, corrected by the server's where the clock of the device is off. A device that is ahead
 * would get each of its edits back as a conflict; one that is behind would lose every merge.
 */
export class Clock {
  /** Milliseconds to add to the clock of the device. */
  offset = 0
  readonly device: () => number
  /** Told each time that another offset was learned. */
  learned: (reading: Reading) => void = () => {}

  constructor(device: () => number) {
    this.device = device
  }

  /** Goes on with what was learned before a restart, unless the clock was set back since. */
  restore({ offset, at }: Reading): void {
    if (at <= this.device()) this.offset = offset
  }

  now(): number {
    return this.device() + this.offset
  }

  /**
   * The server wrote the date at some time since it was asked. Of the offsets that fit, the least is
   * taken: rather a little behind than ahead of the server.
   *
   * @param askedAt by the clock of the device
   */
  learn(date: string | null, askedAt: number): void {
    const time = Date.parse(date ?? '')
    const [least, most] = [time - this.device(), time + RESOLUTION_MS - askedAt]
    const isOff = (offset: number) => offset < least - TOLERANCE_MS || offset > most + TOLERANCE_MS
    if (!isOff(this.offset)) return
    this.offset = isOff(0) ? least : 0
    this.learned({ offset: this.offset, at: this.device() })
  }
}
