import { sameValue } from '../../protocol/canonical.ts'
import { faultIn, type Rule } from '../../protocol/faults.ts'
import { ClientError, type FieldErrors } from '../runtime/client-error.ts'
import type { Definition } from './resources.ts'

type Values = Readonly<Record<string, unknown>>

/**
 * Refuses values that the server would reject, before they are stored. Unchanged values pass: the server may
 * be newer than the app and have other rules.
 *
 * @param previous the stored document; undefined for a creation
 * @throws ClientError `invalid`, with messages by field
 */
export function refuseFaults(resource: Definition, next: Values, previous?: Values): void {
  const errors: FieldErrors = {}
  // A document that is restored may have fields of a newer server.
  const isRestored = next.created_at !== undefined
  for (const name of new Set([...resource.required, ...Object.keys(next)])) {
    const isForeign = !(name in resource.fields || name in COMMON)
    if (isForeign && isRestored && !previous) continue
    const fault = faultAt(resource, name, next[name], previous)
    if (fault) errors[name] = [fault]
  }
  const faults = Object.entries(errors)
  if (faults.length === 0) return
  const detail = faults.map(([name, [message]]) => `${name}: ${message}`).join(' ')
  throw new ClientError('invalid', `${resource.name} does not accept this. ${detail}`, { errors })
}

function faultAt(
  { fields, fieldNames, required }: Definition,
  name: string,
  value: unknown,
  previous: Values | undefined,
): string | undefined {
  if (name.startsWith('_')) return undefined // RxDB's own
  const rule = fields[name] ?? COMMON[name]
  if (value === undefined && !previous)
    return required.includes(name) ? 'Enter a value; this field is required.' : undefined
  if (previous && rule ? sameValue(rule, value, previous[name]) : value === previous?.[name])
    return undefined
  return rule ? faultIn(rule, value) : `Remove it. The fields are ${fieldNames.join(', ')}.`
}

const COMMON: Readonly<Record<string, Rule>> = {
  id: { kind: 'uuid', nullable: false },
  created_at: { kind: 'instant', nullable: false },
  updated_at: { kind: 'instant', nullable: false },
}
