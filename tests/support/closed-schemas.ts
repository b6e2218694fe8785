/**
 * A description whose answers have no unknown properties: clients must accept those of later releases, but
 * this server sends only described ones.
 */
export function closed<T>(description: T): T {
  return JSON.parse(JSON.stringify(description), (_key, value) =>
    value?.type === 'object' && value.properties && value.additionalProperties === undefined
      ? { ...value, additionalProperties: false }
      : value,
  )
}
