import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import * as z from 'zod'
import { rxSchema } from '../../client-sdk/local/rx-schema.ts'
import {
  accounts,
  PROBLEMS,
  problemSchema,
  type Resource,
  resources,
} from '../../protocol/index.ts'
import * as live from '../../protocol/live.ts'
import * as replication from '../../protocol/replication.ts'

/** What is on the wire, by resource and version. */
const WIRE = {
  'categories@0': 'd1afea78031e',
  'profile@0': '234967ef7b9f',
  'tasks@0': '0a1ce9c10a1d',
  'conflicts@0': 'a3f57ca2c179',
}

/** The same of what has no version in its address: each state that was released, the last is today's. */
const HISTORY: Readonly<Record<string, readonly (readonly [fingerprint: string, what: string])[]>> =
  {
    accounts: [
      ['784ed8d8fa18', 'the first release'],
      [
        '425ed4611a66',
        'passwords may have 1000 characters; a sign-in gives a mark of the device and the username; registrations may have an invitation; the account says what it stores, and when it is deleted unless its address is confirmed; the pattern of usernames is a portable one',
      ],
    ],
    replication: [
      ['0f5a2426e282', 'the first release'],
      ['c02c08b3edd0', 'a rejection has the code of a problem, of which there is one more'],
      [
        '165b854bd02e',
        'the response to a push has a `checkpoint`, a page of a snapshot `changed_since`',
      ],
      [
        'bca2621b1017',
        'a page of a snapshot says what became of documents that are `missing` in it',
      ],
      ['625f89826786', '`unknown_field`: a rejected row that a later server may accept'],
      ['11941ff6c3d9', 'documents can be compared by digest'],
      [
        '0ede091cc3ac',
        'there are two more codes of problems: `too_many_connections`, `https_required`',
      ],
      [
        'b2010bc0aefe',
        'a page may say whether it `has_more`; there are two more codes: `too_slow`, `quota_exceeded`',
      ],
      ['4878e744858c', 'there is one more code: `idempotency_key_reused`'],
      ['f29fe93b3bab', 'a rejection with `unknown_field` names the `unknown_fields`'],
    ],
    live: [
      ['171b2308955e', 'the first release'],
      ['adcb70ac2975', '`ready` and `changes` carry the checkpoint to continue from'],
      [
        '3c6a763561dd',
        'there are two more codes of problems: `too_many_connections`, `https_required`',
      ],
      ['56b1990d49c4', 'there are two more: `too_slow`, `quota_exceeded`'],
      ['4df5c82662dd', 'there is one more: `idempotency_key_reused`'],
    ],
    problems: [
      ['f959b421baba', 'the first release'],
      ['469f9104bd4b', '`checkpoint_expired`; `error: true` under /replication'],
      ['b9ff122e8f36', 'an expired checkpoint says what became of documents that are `missing`'],
      ['67bb7a126f2f', '`reasons` of `/readyz`'],
      ['9c13051d78ac', '`too_many_connections`, `https_required`'],
      [
        'a7674642f66f',
        '`token_not_valid` with `erase`: the device deletes its data; `quota_exceeded`',
      ],
      [
        '3328d3d72fcb',
        '`idempotency_key_reused`; the `operation` of an atomic batch that stopped it',
      ],
    ],
  }

/** What devices keep, by resource, version and revision. */
const KEPT = {
  'categories@0.0': '60581ef4f410',
  'profile@0.1': '33e1c9f27f0e',
  'tasks@0.0': '26076190e713',
  'conflicts@0.1': 'd7f3f3dd86c5',
}

const REMEDY = `
What clients send or receive has changed. Ask whether a client of the last release could go on
reading and writing:
- if it could (a field that may be left out, a message, a wider limit), pin the new fingerprint, in
  HISTORY with a line for what has changed since the last release;
- if it could not, first raise the \`version\` of the resource and begin its \`revision\` at 0 again,
  so that old clients are told (426) rather than broken. What stands in HISTORY has no version: keep its old form working.
Tell of it in CHANGELOG.md either way. (A new release of zod may write its schemas in another way;
then, and only then, a fingerprint changes with nothing else.)`

const KEPT_REMEDY = `
What a device keeps has changed: it would not open what it has under the same version and revision.
Raise the \`revision\` of the resource, unless its \`version\` has just been raised, and write a line
for it in place of the old one. Documents are brought into the new form by client-sdk/local/migration.ts.`

test('what is on the wire is what its version promises', () => {
  const found = {
    ...Object.fromEntries(
      Object.values<Resource>(resources).map((resource) => [
        `${resource.name}@${resource.version}`,
        fingerprint(wireOf(resource)),
      ]),
    ),
    accounts: fingerprint(jsonSchemas(accounts)),
    replication: fingerprint(jsonSchemas(replication)),
    live: fingerprint(jsonSchemas(live)),
    problems: fingerprint({ codes: PROBLEMS, body: jsonSchemas({ problemSchema }) }),
  }
  const latest = Object.entries(HISTORY).map(([name, states]) => [name, states.at(-1)![0]])
  expect(found, REMEDY).toEqual({ ...WIRE, ...Object.fromEntries(latest) })
})

test('what a device keeps is what its version and revision promise', () => {
  const found = Object.values<Resource>(resources).map((resource) => [
    `${resource.name}@${resource.version}.${resource.revision}`,
    fingerprint(keptOf(resource)),
  ])
  expect(Object.fromEntries(found), KEPT_REMEDY).toEqual(KEPT)
})

const { tasks } = resources
test.each<[string, Resource]>([
  ['another field', { ...tasks, document: tasks.document.extend({ mood: z.string() }) }],
  ['a narrower limit', { ...tasks, patch: tasks.patch.extend({ title: z.string().max(9) }) }],
  ['a field that must be given', { ...tasks, create: tasks.create.required({ priority: true }) }],
  ['a field that is refused', { ...tasks, put: tasks.put.omit({ id: true }) }],
  ['another starting value', { ...tasks, initial: { ...tasks.initial, priority: 'low' } }],
  ['a stamp of another flag', { ...tasks, stamps: {} }],
  ['choices in another order', { ...tasks, fields: reordered('priority') }],
])('%s has another fingerprint', (_what, changed) => {
  expect(fingerprint(wireOf(changed))).not.toBe(fingerprint(wireOf(tasks)))
})

test.each<[string, Resource]>([
  ['another field', { ...tasks, ...withFields({ ...tasks.fields, mood: tasks.fields.title }) }],
  ['a field less', { ...tasks, ...withFields({ title: tasks.fields.title }) }],
  ['a field that may be null', { ...tasks, fields: withTitle({ nullable: true }) }],
  ['another choice', { ...tasks, fields: reordered('priority') }],
])('%s is kept in another form', (_what, changed) => {
  expect(fingerprint(keptOf(changed))).not.toBe(fingerprint(keptOf(tasks)))
})

test('a new description of a field is not', () => {
  const changed = { ...tasks, fields: withTitle({ description: 'What to do.' }) }
  expect(fingerprint(keptOf(changed))).toBe(fingerprint(keptOf(tasks)))
})

/** What is sent and received, and what both ends compute from it (see settle.ts). */
function wireOf({ document, create, patch, put, initial, stamps, fields }: Resource): object {
  const choices = Object.entries(fields).map(([name, { values }]) => [name, values])
  return { ...jsonSchemas({ document, create, patch, put }), initial, stamps, choices }
}

/** RxDB's schema, which has to be the same under the same number. */
function keptOf(resource: Resource): object {
  return rxSchema({ ...resource, version: 0, revision: 0 })
}

function withFields(fields: Resource['fields']): Pick<Resource, 'fields' | 'fieldNames'> {
  return { fields, fieldNames: Object.keys(fields) }
}

function withTitle(change: Partial<Resource['fields'][string]>): Resource['fields'] {
  return { ...tasks.fields, title: { ...tasks.fields.title, ...change } }
}

/** Of what a module exports, and whatever else travels with its schemas, such as limits. */
function jsonSchemas(exported: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(
    Object.entries(exported).map(([name, one]) => [
      name,
      one instanceof z.ZodType ? z.toJSONSchema(one, { io: 'input' }) : one,
    ]),
  )
}

function fingerprint(value: object): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 12)
}

function reordered(name: keyof typeof tasks.fields): Resource['fields'] {
  const field: Resource['fields'][string] = tasks.fields[name]
  return { ...tasks.fields, [name]: { ...field, values: field.values!.toReversed() } }
}
