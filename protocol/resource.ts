import * as z from 'zod'
import { type Field, id, instant } from './field.ts'
import { leastValue } from './kinds.ts'

export type Fields = Readonly<Record<string, Field>>

/**
 * The definition of a resource. REST validation and routes, OpenAPI, SQL, the normalization on both sides
 * (settle.ts) and the test of the table are derived from it.
 */
export interface Definition<F extends Fields, I extends keyof F = keyof F> {
  /** The REST path segment, the replication name and (if not `table`) the table. */
  readonly name: string
  /** The name of one document. */
  readonly singular: string
  readonly table?: string
  /** Increment when older clients can no longer read or write these fields. */
  readonly version: number
  /**
   * Increment when the fields change compatibly with older clients. The data on a device is migrated when
   * the app is updated. A new version starts at 0 again.
   */
  readonly revision?: number
  readonly fields: F
  /** The initial values of missing fields. A field without one is required. */
  readonly initial: { readonly [K in I]: z.output<F[K]['schema']> }
  /**
   * Instants that follow a flag: `{completed_at: 'completed'}`. Kept by `settle`, read-only on REST; null in
   * `initial`.
   */
  readonly stamps?: { readonly [K in NoInfer<I>]?: keyof F & string }
  readonly filterable: readonly ((keyof F & string) | Stamp)[]
  readonly sortable: readonly ((keyof F & string) | Stamp)[]
  readonly searchable: readonly (keyof F & string)[]
  /** The default order of lists, as in the `ordering` parameter. */
  readonly ordering: string
  /** Each user has exactly one document, whose id is the user's. */
  readonly singleton?: boolean
  /** Only the server writes it. */
  readonly readOnly?: boolean
  /** A realistic document for OpenAPI, with the fields that a user would enter. */
  readonly example: { readonly [K in keyof F]?: z.output<F[K]['schema']> }
}

type Stamp = 'created_at' | 'updated_at'

/** Any resource, for generic code. */
export interface Resource {
  readonly name: string
  readonly singular: string
  readonly table: string
  readonly version: number
  readonly revision: number
  readonly fields: Fields
  readonly fieldNames: readonly string[]
  readonly writable: readonly string[]
  readonly required: readonly string[]
  readonly initial: Readonly<Record<string, unknown>>
  readonly stamps: Readonly<Record<string, string>>
  /** The fields of a document that is deleted for good: see for-good.ts. */
  readonly blank: Readonly<Record<string, unknown>>
  /** Those that no live document has blank. */
  readonly neverBlank: readonly string[]
  readonly filterable: readonly string[]
  readonly sortable: readonly string[]
  readonly searchable: readonly string[]
  readonly ordering: string
  readonly singleton: boolean
  readonly readOnly: boolean
  readonly example: Readonly<Record<string, unknown>>
  /** The stored and replicated document, without `_deleted`. */
  readonly document: z.ZodObject
  /** A pushed row: any of the fields. */
  readonly partial: z.ZodObject
  /** The body of POST: required and optional fields, and an id chosen by the client. */
  readonly create: z.ZodObject
  /** The body of PATCH: any writable fields. */
  readonly patch: z.ZodObject
  /** The body of PUT: required and optional fields; read-only ones are accepted and ignored. */
  readonly put: z.ZodObject
}

/** A document, the same on client and server. Timestamps are UTC with milliseconds and `Z`. */
export interface Document {
  id: string
  created_at: string
  updated_at: string
  [field: string]: unknown
}

export type DocumentOf<R extends { document: z.ZodType }> = z.output<R['document']>

/** The required fields of a new document. */
type RequiredOf<R extends Definition<Fields>> = {
  [K in keyof R['fields']]: K extends keyof R['initial']
    ? never
    : R['fields'][K]['kind'] extends 'order_key'
      ? never
      : K
}[keyof R['fields']]

/** A document before its creation. `settle` fills in missing fields. */
export type NewDocumentOf<R extends Definition<Fields> & { document: z.ZodType }> = Partial<
  DocumentOf<R>
> &
  Pick<DocumentOf<R>, RequiredOf<R> & keyof DocumentOf<R>>

/** Fields of every document, defined like the others so that lists can use them. */
export const stampFields: Readonly<Record<Stamp, Field>> = {
  created_at: instant('When it was created; never changes.'),
  updated_at: instant('When it was last changed.'),
}

/** The field with this name: one of the resource, or one of every document. */
export function fieldOf(resource: Resource, name: string): Field {
  return resource.fields[name] ?? stampFields[name as Stamp]
}

export function defineResource<const F extends Fields, I extends keyof F>(
  definition: Definition<F, I>,
) {
  const { fields, initial, stamps = {} } = definition
  for (const [name, field] of Object.entries<Field>(fields)) checkReference(definition, name, field)
  const fieldNames = Object.keys(fields)
  const writable = fieldNames.filter((name) => !(name in stamps))
  const required = writable.filter((name) => !(name in initial) && !isDerived(fields[name]!))
  const shape = shapeOf(fields)
  const blank = blankOf(fields, writable, initial)
  const neverBlank = required.filter(
    (name) => name in blank && !fields[name]!.schema.safeParse(blank[name]).success,
  )
  const document = z.strictObject({
    id: id(),
    ...shape,
    created_at: stampFields.created_at.schema as ReturnType<typeof instant>['schema'],
    updated_at: stampFields.updated_at.schema as ReturnType<typeof instant>['schema'],
  })
  const patch = z.strictObject(pick(shape, writable)).partial()
  const create = patch.required(Object.fromEntries(required.map((name) => [name, true])) as never)
  const readOnly = pick(document.shape, ['id', 'created_at', 'updated_at', ...Object.keys(stamps)])
  return {
    ...definition,
    table: definition.table ?? definition.name,
    revision: definition.revision ?? 0,
    singleton: definition.singleton ?? false,
    readOnly: definition.readOnly ?? false,
    stamps: stamps as Record<string, string>,
    fieldNames,
    writable,
    required,
    blank,
    neverBlank,
    document,
    partial: document.partial(),
    patch,
    create: definition.singleton ? create : create.extend({ id: id().optional() }),
    put: create.extend(z.object(readOnly).partial().shape),
  } satisfies Resource
}

/** @throws if a reference must be nullable and is not: a cleared reference is null, and so is that of a root */
function checkReference({ name }: { name: string }, field: string, of: Field): void {
  const { references, nullable } = of
  if (!references || nullable) return
  if (references.on_delete === 'clear' || references.to === name)
    throw new Error(`${name}.${field} must be nullable, because it has no target at times.`)
}

/** A missing order key is derived from the document: see `orderKeyAt`. */
function isDerived(field: Field): boolean {
  return field.kind === 'order_key'
}

/** Without order keys, which are derived, and without references that must not be null. */
function blankOf(
  fields: Fields,
  writable: readonly string[],
  initial: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const names = writable.filter((name) => {
    const { kind, nullable } = fields[name]!
    return kind !== 'order_key' && (nullable || kind !== 'reference')
  })
  const blankIn = (name: string) => {
    if (name in initial) return initial[name]
    return fields[name]!.nullable ? null : leastValue(fields[name]!)
  }
  return Object.fromEntries(names.map((name) => [name, blankIn(name)]))
}

function shapeOf<F extends Fields>(fields: F): { [K in keyof F]: F[K]['schema'] } {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, field.schema.describe(field.description)]),
  ) as { [K in keyof F]: F[K]['schema'] }
}

function pick<T extends object>(from: T, names: readonly string[]): Record<string, z.ZodType> {
  return Object.fromEntries(names.map((name) => [name, from[name as keyof T]])) as never
}
