/** The package has no types. */
declare module 'pouchdb-selector-core' {
  /** Brings a selector into the form that the other function takes. */
  export function massageSelector(selector: object): object
  /** The rows that match. */
  export function filterInMemoryFields<T extends { doc: object }>(
    rows: T[],
    request: { selector: object },
    fields: string[],
  ): T[]
}
