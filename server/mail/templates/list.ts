/** A list for a template; empty without items. */
export function listOf<T extends { title: string }>(
  heading: string,
  items: readonly T[],
  note: (item: T) => string,
) {
  if (items.length === 0) return []
  return [{ heading, items: items.map((item) => ({ title: item.title, note: note(item) })) }]
}
