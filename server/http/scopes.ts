import type { Resource, Scope } from '../../protocol/index.ts'

/** The scopes that a personal token needs for the documents of a resource. */
export function scopesOf(resource: Resource, access: 'read' | 'write'): readonly Scope[] {
  if (resource.singleton) return ['profile']
  // The conflict journal, which only the server writes, has values of all resources.
  return resource.readOnly ? [`tasks:${access}`, 'profile'] : [`tasks:${access}`]
}
