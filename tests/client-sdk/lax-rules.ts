import { resources } from '../../client-sdk/local/resources.ts'

/**
 * From here on, apps of this process accept texts that the server rejects, like a release that has other rules
 * than the server.
 *
 * @returns what ends this
 */
export function acceptAnyText(): () => void {
  const strict = { ...resources }
  for (const resource of Object.values(resources)) {
    const lax = Object.entries(resource.fields).map(([name, { min, max, ...field }]) => [
      name,
      field.kind === 'text' ? field : resource.fields[name],
    ])
    Object.assign(resources, {
      [resource.name]: { ...resource, fields: Object.fromEntries(lax) },
    })
  }
  return () => void Object.assign(resources, strict)
}
