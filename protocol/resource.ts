import * as z from 'zod'
import { type Field, id, instant } from './field.ts'

export type Fields = Readonly<Record<string, Field>>

/**
 * One kind of document, described once. From this value come the REST validation and routes, the
 * OpenAPI description, the SQL, the test that compares the table with it, and what both ends do to
 * a document before they keep it (settle.ts).
 */
export interface Definition<F extends Fields, I extends keyof F = keyof F> {
  /** The REST path segment, the replication name and (if not `table`) the table. */
  readonly name: string
  /** One document, in words. */
  readonly singular: string
  readonly table?: string
  /** Increment when an older client could no longer read or write these fields. */
  readonly version: number
  /**
   * Increment when the fields change in a way that older clients can live with. What is kept on a
   * device is brought into the new form when the app is updated. A new version begins at 0 again.
   */
  readonly revision?: number
  readonly fields: F
  /** What an absent field is on insert. A field without a value here must be given. */
  readonly initial: { readonly [K in I]: z.output<F[K]['schema']> }
  /**
   * Instants that follow a flag: `{completed_at: 'completed'}`. Kept by `settle`, read-only on REST; null in
   * `initial`.
   */
  readonly stamps?: { readonly [K in NoInfer<I>]?: keyof F & string }
  readonly filterable: readonly ((keyof F & string) | Stamp)[]
  readonly sortable: readonly ((keyof F & string) | Stamp)[]
  readonly searchable: readonly (keyof F & string)[]
  /** The order of a list when none is asked for, as in the `ordering` parameter. */
  readonly ordering: string
  /** There is exactly one document per person, whose id is the person's. */
  readonly singleton?: boolean
  /** Only the server writes it. */
  readonly readOnly?: boolean
  /** A realistic document for the API's description: the fields that a person would give. */
  readonly example: { readonly [K in keyof F]?: z.output<F[K]['schema']> }
}

export type Stamp = 'created_at' | 'updated_at'

/** Any resource, for the code that treats them all alike. */
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
  readonly filterable: readonly string[]
  readonly sortable: readonly string[]
  readonly searchable: readonly string[]
  readonly ordering: string
  readonly singleton: boolean
  readonly readOnly: boolean
  readonly example: Readonly<Record<string, unknown>>
  /** The document as it is stored and replicated, without `_deleted`. */
  readonly document: z.ZodObject
  /** What a pushed row may hold: any of the fields, in any state of completeness. */
  readonly partial: z.ZodObject
  /** What POST takes: required fields, optional ones, and an id of the client's choice. */
  readonly create: z.ZodObject
  /** What PATCH takes: any of the writable fields. */
  readonly patch: z.ZodObject
  /** What PUT takes: required fields must be there; read-only ones may be, and count for nothing. */
  readonly put: z.ZodObject
}

/** A document as every end holds it. Timestamps are UTC with milliseconds and `Z`. */
export interface Document {
  id: string
  created_at: string
  updated_at: string
  [field: string]: unknown
}

export type DocumentOf<R extends { document: z.ZodType }> = z.output<R['document']>

/** What has to be given of a new document. */
type RequiredOf<R extends Definition<Fields>> = {
  [K in keyof R['fields']]: K extends keyof R['initial']
    ? never
    : R['fields'][K]['kind'] extends 'order_key'
      ? never
      : K
}[keyof R['fields']]

/** A document that is about to be created: both ends fill in what is left out (settle.ts). */
export type NewDocumentOf<R extends Definition<Fields> & { document: z.ZodType }> = Partial<
  DocumentOf<R>
> &
  Pick<DocumentOf<R>, RequiredOf<R> & keyof DocumentOf<R>>

/** The fields that every document has, described like the others so that lists can use them. */
export const stampFields: Readonly<Record<Stamp, Field>> = {
  created_at: instant('When it was created; never changes.'),
  updated_at: instant('When it was last changed.'),
}

/** What a column or parameter of this name means: a field of the resource, or a stamp that all have. */
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
    document,
    partial: document.partial(),
    patch,
    create: definition.singleton ? create : create.extend({ id: id().optional() }),
    put: create.extend(z.object(readOnly).partial().shape),
  } satisfies Resource
}

/** @throws where it could not always be kept: what is cleared is null then, and a tree has a root */
function checkReference({ name }: { name: string }, field: string, of: Field): void {
  const { references, nullable } = of
  if (!references || nullable) return
  if (references.on_delete === 'clear' || references.to === name)
    throw new Error(`${name}.${field} has to be nullable: it refers to nothing at times.`)
}

/** An order key that nobody gave is computed from the document: see `orderKeyAt`. */
function isDerived(field: Field): boolean {
  return field.kind === 'order_key'
}

function shapeOf<F extends Fields>(fields: F): { [K in keyof F]: F[K]['schema'] } {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, field.schema.describe(field.description)]),
  ) as { [K in keyof F]: F[K]['schema'] }
}

function pick<T extends object>(from: T, names: readonly string[]): Record<string, z.ZodType> {
  return Object.fromEntries(names.map((name) => [name, from[name as keyof T]])) as never
}
