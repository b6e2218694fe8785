/** No database, for a reason that the operator can fix. Print the message, which names the remedy, without the stack. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable'
}
