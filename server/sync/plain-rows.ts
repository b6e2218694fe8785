/**
 * Reads what clients usually send without their schemas, which take many times longer: states in which each
 * value is valid and in its canonical form. The schemas read the others, and have the words for what is wrong.
 */
import { type Field, isPlainId, type Resource, stampFields } from '../../protocol/index.ts'

type Fields = Readonly<Record<string, unknown>>

/** The fields of a state without its id, in the order of the schema; undefined if the schema has to be asked. */
export function plainFields(resource: Resource, state: Fields): Fields | undefined {
  if (!isPlainId(state.id)) return undefined
  const { names, checks } = checksOf(resource)
  const plain: Record<string, unknown> = {}
  // With the id.
  let read = 1
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!
    const value = state[name]
    if (value === undefined) continue
    if (!checks[i]!(value)) return undefined
    plain[name] = value
    read++
  }
  let sent = 0
  for (const name in state) if (name !== '_deleted') sent++
  return read === sent ? plain : undefined
}

interface Checks {
  readonly names: readonly string[]
  readonly checks: readonly ((value: unknown) => boolean)[]
}

const checksByResource = new WeakMap<Resource, Checks>()

function checksOf(resource: Resource): Checks {
  let found = checksByResource.get(resource)
  if (!found) {
    const fields = Object.entries<Field>({ ...resource.fields, ...stampFields })
    found = {
      names: fields.map(([name]) => name),
      checks: fields.map(([, { schema, isPlain }]) => isPlain ?? leavesAsItIs(schema)),
    }
    checksByResource.set(resource, found)
  }
  return found
}

const leavesAsItIs = (schema: Field['schema']) => (value: unknown) => {
  const { success, data } = schema.safeParse(value)
  return success && data === value
}
