/** No database, for a reason the operator can mend: print the message, it names the remedy; the stack tells nothing. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable'
}
