import * as z from 'zod'
import {
  accounts,
  administration,
  batch,
  batchResult,
  checkpointSchema,
  conflictsSchema,
  digestResponseSchema,
  events,
  missing,
  personalTokens,
  problemSchema,
  pushResponseSchema,
  pushRowSchema,
  type Resource,
  rejectionSchema,
  resources,
  wireDocumentOf,
} from '../../../protocol/index.ts'

/** Names of schemas in a description. A named one is referred to wherever it occurs. */
export type Names = ReadonlyMap<z.ZodType, string>

export type JsonSchemas = Record<string, Record<string, unknown>>

/** What goes into the server may have no unknown names; what comes from it may have more in a later release. */
export type Direction = 'input' | 'output'

const COMPONENTS = '#/components/schemas/'

export const referTo = (name: string) => ({ $ref: `${COMPONENTS}${name}` })

/** The names of what occurs within others: documents, choices, and parts of answers. */
export function namesOfParts(): Map<z.ZodType, string> {
  const names = new Map<z.ZodType, string>([
    [problemSchema, 'Problem'],
    [problemSchema.shape.code, 'ProblemCode'],
    [problemSchema.shape.factor.unwrap(), 'FactorChallenge'],
    [problemSchema.shape.factor.unwrap().shape.methods.element, 'FactorMethod'],
    [missing, 'MissingCause'],
    [checkpointSchema, 'Checkpoint'],
    [pushRowSchema, 'PushRow'],
    [conflictsSchema, 'PushConflicts'],
    [pushResponseSchema, 'PushResult'],
    [digestResponseSchema, 'DigestResult'],
    [digestResponseSchema.shape.result, 'DigestOutcome'],
    [rejectionSchema, 'Rejection'],
    [rejectionSchema.shape.code, 'RejectionCode'],
    [batch.batchOperation, 'BatchOperation'],
    [batch.batchOperation.shape.method, 'BatchMethod'],
    [batchResult, 'BatchResult'],
    [accounts.role, 'Role'],
    [accounts.signedInDevice, 'SignedInDevice'],
    [administration.managedAccount, 'ManagedAccount'],
    [administration.auditEntry, 'AuditEntry'],
    [administration.action, 'AuditAction'],
    [events.securityEvent, 'SecurityEvent'],
    [events.securityEvent.shape.kind, 'SecurityEventKind'],
    [events.securityEvent.shape.outcome, 'SecurityEventOutcome'],
    [personalTokens.personalToken, 'PersonalToken'],
    [personalTokens.scope, 'Scope'],
  ])
  for (const resource of Object.values<Resource>(resources)) {
    const name = pascal(resource.singular)
    names.set(resource.document, name).set(wireDocumentOf(resource), `Replicated${name}`)
    for (const [field, { kind, schema }] of Object.entries(resource.fields))
      if (kind === 'choice') names.set(plain(schema), `${name}${pascal(field)}`)
  }
  return names
}

/** As JSON Schema, by name, with references between them. */
export function namedSchemas(
  names: Names,
  direction: Direction,
  target: 'draft-2020-12' | 'draft-7' = 'draft-2020-12',
): JsonSchemas {
  const registry = z.registry<{ id: string }>()
  for (const [schema, id] of names) registry.add(schema, { id })
  const { schemas } = z.toJSONSchema(registry, {
    io: direction,
    target,
    uri: (name) => `${COMPONENTS}${name}`,
    override: ({ jsonSchema }) => tidy(jsonSchema, direction),
  })
  return Object.fromEntries(
    Object.entries(schemas).map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
  )
}

/** One schema without a name. */
export function jsonSchema(schema: z.ZodType, direction: Direction): Record<string, unknown> {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    io: direction,
    target: 'draft-2020-12',
    override: ({ jsonSchema }) => tidy(jsonSchema, direction),
  })
  return json
}

/** Those that a description refers to, also by others of them. */
export function referredTo(schemas: JsonSchemas, description: object): JsonSchemas {
  const found = new Set<string>()
  const follow = (value: unknown) => {
    for (const [, name] of JSON.stringify(value).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (found.has(name!)) continue
      found.add(name!)
      follow(schemas[name!] ?? {})
    }
  }
  follow(description)
  return Object.fromEntries(Object.entries(schemas).filter(([name]) => found.has(name)))
}

/** A format replaces zod's long pattern. What says nothing is left out: generated code repeats it. */
function tidy(json: z.core.JSONSchema.BaseSchema, direction: Direction): void {
  if (json.format) delete json.pattern
  if (json.minimum === Number.MIN_SAFE_INTEGER) delete json.minimum
  if (json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum
  if (JSON.stringify(json.propertyNames) === '{"type":"string"}') delete json.propertyNames
  if (direction === 'output' && json.additionalProperties === false)
    delete json.additionalProperties
}

const plain = (schema: z.ZodType) =>
  (schema instanceof z.ZodNullable ? schema.unwrap() : schema) as z.ZodType

const pascal = (name: string) => name.replaceAll(/(?:^|_)(\w)/g, (_, first) => first.toUpperCase())
