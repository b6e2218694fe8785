/**
 * For `node --import`: the clock of the process is CLOCK_AHEAD_MS ahead, as after an operator's mistake.
 * The monotonic timer runs as before.
 */
const ahead = Number(process.env.CLOCK_AHEAD_MS)
const RealDate = Date
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(RealDate.now() + ahead)
    else super(...parts)
  }

  static now() {
    return RealDate.now() + ahead
  }
}
