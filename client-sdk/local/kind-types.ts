import type { Kind } from '../../protocol/canonical.ts'

/** The TypeScript type of each kind, for the types that `build.mjs` writes. */
export const kindTypes: Readonly<Record<Kind, string>> = {
  text: 'string',
  choice: 'string',
  day: 'string',
  time: 'string',
  instant: 'string',
  flag: 'boolean',
  whole_number: 'number',
  number: 'number',
  reference: 'string',
  uuid: 'string',
  set: 'string[]',
  record: 'Record<string, unknown>',
  order_key: 'string',
}
