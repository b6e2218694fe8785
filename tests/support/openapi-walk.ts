import { randomUUID } from 'node:crypto'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import { closed } from './closed-schemas.ts'
import { withPasskey } from './factors.ts'
import type { Caller, Reply } from './server.ts'

/**
 * The API according to its OpenAPI document. Tests that use it name no endpoint, so they cover new ones as
 * soon as those are described.
 */
export interface Api {
  readonly document: ApiDocument
  readonly operations: readonly DescribedOperation[]
  /** The errors of a value by a schema of the document; undefined if it is valid. */
  faultsOf(schema: Schema, value: unknown): string | undefined
  /** The differences between a reply and the description of the operation. */
  complaints(operation: DescribedOperation, reply: Reply): string[]
  resolve<T extends object>(node: T | Reference): T
}

export interface DescribedOperation {
  readonly id: string
  /** In upper case. */
  readonly method: string
  readonly path: string
  /** Whether it requires an access token. */
  readonly bearer: boolean
  /** Of another protocol, CouchDB's: it ignores names that it does not know, and its errors are no problems. */
  readonly foreign: boolean
  /** Whether it has an answer that is no error. */
  readonly succeeds: boolean
  /** Whether only some roles may use it. */
  readonly guarded: boolean
  readonly parameters: readonly Parameter[]
  readonly body: { readonly schema: Schema; readonly examples: readonly unknown[] } | undefined
  /** By status. */
  readonly responses: Readonly<Record<string, ResponseNode>>
  readonly node: OperationNode
}

export interface ApiDocument {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationNode>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
  readonly security?: readonly object[]
}

export interface OperationNode {
  readonly operationId?: string
  readonly summary?: string
  readonly description?: string
  readonly tags?: readonly string[]
  readonly security?: readonly object[]
  readonly parameters?: readonly (Parameter | Reference)[]
  readonly requestBody?: { readonly content: Content } | Reference
  readonly responses: Readonly<Record<string, ResponseNode | Reference>>
}

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header' | 'cookie'
  readonly schema: Schema
  readonly example?: unknown
}

export interface ResponseNode {
  readonly headers?: Readonly<Record<string, { readonly schema: Schema }>>
  readonly content?: Content
}

type Content = Readonly<Record<string, Media>>

export interface Media {
  readonly schema: Schema
  readonly example?: unknown
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>
}

export interface Reference {
  readonly $ref: string
}

export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly additionalProperties?: unknown
  readonly readOnly?: boolean
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly format?: string
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly anyOf?: readonly Schema[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
}

/** The user's own values by name, which replace those of examples. */
export type Facts = Readonly<Record<string, unknown>>

export interface Target {
  /** The path to a document of the caller: each parameter is filled in. */
  readonly path: string
  /** The response that created the last of these documents. */
  readonly made: Reply | undefined
}

const BASE = 'https://api.example/openapi.json'

export async function readApi(call: Caller): Promise<Api> {
  const described = await call('GET', '/api/schema/')
  if (described.status !== 200) throw new Error(`No description: ${described.text}`)
  const document = described.body as ApiDocument
  const ajv = new Ajv2020({ allErrors: true, strict: true, strictTypes: false })
  ajvFormats.default(ajv)
  // In strict mode Ajv rejects unknown keywords at the root, which here are those of OpenAPI.
  ajv.addVocabulary(Object.keys(document))
  ajv.addSchema(closed(document), BASE)
  // By the text of the schema, as the same one stands in many operations.
  const validators = new Map<string, ValidateFunction>()

  const api: Api = {
    document,
    operations: Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, node]) => describe(path, method, node)),
    ),
    faultsOf(schema, value) {
      const text = JSON.stringify(schema)
      let validate = validators.get(text)
      if (!validate) {
        validate = ajv.compile(absolute(closed(schema)))
        validators.set(text, validate)
      }
      return validate(value) ? undefined : ajv.errorsText(validate.errors)
    },
    complaints(operation, reply) {
      const declared = operation.responses[reply.status]
      if (!declared) return [`${reply.status} is not declared: ${reply.text}`]
      return [...bodyComplaints(declared, reply), ...headerComplaints(declared, reply)]
    },
    resolve,
  }
  return api

  function describe(path: string, method: string, node: OperationNode): DescribedOperation {
    const content = node.requestBody && Object.values(resolve(node.requestBody).content)[0]
    return {
      id: node.operationId ?? `${method} ${path}`,
      method: method.toUpperCase(),
      path,
      bearer: (node.security ?? document.security ?? []).length > 0,
      foreign: !mediaOfErrors(node).includes('application/problem+json'),
      succeeds: Object.keys(node.responses).some((status) => Number(status) < 400),
      guarded: /Requires the role /.test(node.description ?? ''),
      parameters: (node.parameters ?? []).map(resolve),
      body: content && { schema: content.schema, examples: examplesOf(content) },
      responses: Object.fromEntries(
        Object.entries(node.responses).map(([status, response]) => [status, resolve(response)]),
      ),
      node,
    }
  }

  /** Every operation may fail. */
  function mediaOfErrors({ responses }: OperationNode): string[] {
    return Object.keys(resolve(responses['500']!).content ?? {})
  }

  function resolve<T extends object>(node: T | Reference): T {
    if (!('$ref' in node) || typeof node.$ref !== 'string') return node as T
    const names = node.$ref.split('/').slice(1)
    const found = names.reduce<unknown>(
      (at, name) => (at as Record<string, unknown>)[unescaped(name)],
      document,
    )
    return resolve(found as T)
  }

  function bodyComplaints({ content = {} }: ResponseNode, reply: Reply): string[] {
    const types = Object.keys(content)
    const type = reply.headers.get('content-type')?.split(';')[0]
    if (types.length === 0) return reply.text === '' ? [] : [`a body that is not declared`]
    if (type === undefined || !types.includes(type)) return [`as ${type}, not as ${types}`]
    if (!type.endsWith('json')) return []
    const faults = api.faultsOf(content[type]!.schema, reply.body)
    return faults === undefined ? [] : [`${faults}: ${reply.text}`]
  }

  function headerComplaints({ headers = {} }: ResponseNode, reply: Reply): string[] {
    return Object.entries(headers).flatMap(([name, node]) => {
      const { schema } = resolve(node)
      const value = reply.headers.get(name)
      if (value === null) return [`no header ${name}`]
      const faults = api.faultsOf(schema, schema.type === 'integer' ? Number(value) : value)
      return faults === undefined ? [] : [`header ${name}: ${faults}`]
    })
  }
}

export function examplesOf({ example, examples = {} }: Media): unknown[] {
  return [
    ...(example === undefined ? [] : [example]),
    ...Object.values(examples).map(({ value }) => value),
  ]
}

/** The first example of the operation's body, with the user's own values if known. */
export function bodyOf({ body }: DescribedOperation, facts: Facts = {}): unknown {
  const example = body?.examples[0]
  if (typeof example !== 'object' || example === null || Array.isArray(example)) return example
  const own = Object.keys(example).flatMap((name) => (name in facts ? [[name, facts[name]]] : []))
  return { ...example, ...Object.fromEntries(own) }
}

/**
 * Fills the parameters of the operation's path: a POST to the path before a parameter creates its document.
 * Without such a POST, the first document of the list at that path is used. Without a list, the example of the
 * parameter, and a PUT to the path itself creates the document.
 */
export async function targetOf(
  api: Api,
  operation: DescribedOperation,
  call: Caller,
): Promise<Target> {
  const template = operation.path.split(/(?<=\/)(\{\w+\})/)
  let [before, path] = ['', '']
  let made: Reply | undefined
  for (const part of template) {
    const name = /^\{(\w+)\}$/.exec(part)?.[1]
    if (name !== undefined) {
      const [collection, at] = [collectionAt(before), collectionAt(path)]
      made = (await makeAt(api, call, collection, at)) ?? (await firstAt(api, call, collection, at))
      const parameter = operation.parameters.find((parameter) => parameter.name === name)
      path += encodeURIComponent(String(made?.body?.[name] ?? parameter?.example))
    } else path += part
    before += part
  }
  const maker = api.operations.find((one) => one.method === 'PUT' && one.path === operation.path)
  if (!made?.body && maker && maker !== operation && template.length > 1)
    made = await call('PUT', path, bodyOf(maker))
  return { path, made }
}

/** The operation's path with examples of its parameters, or with new ids in the place of UUIDs. */
export const examplePath = ({ path, parameters }: DescribedOperation) =>
  path.replaceAll(/\{(\w+)\}/g, (_, name) =>
    String(parameters.find((one) => one.name === name)?.example ?? randomUUID()),
  )

/** In CouchDB's protocol, a write names the revision of the document that it follows. */
export async function revisionFacts(
  { foreign }: DescribedOperation,
  path: string,
  call: Caller,
): Promise<Facts> {
  if (!foreign) return {}
  const { body } = await call('GET', path)
  return body?._rev === undefined ? {} : { _rev: body._rev }
}

/** Explanations are about the documents of another path. */
export const collectionAt = (path: string) => path.replace('/api/explain/', '/api/')

/** Operations that create a document and return it: POSTs to collections. */
export function makers({ operations }: Api): DescribedOperation[] {
  return operations.filter(
    ({ method, path, bearer, guarded, body, responses }) =>
      bearer && !guarded && method === 'POST' && !path.includes('{') && body && responses[201],
  )
}

/** The properties of an object's schema with a format, nullable or not: `category_id` for `uuid`. */
export function propertiesOf(api: Api, schema: Schema, format: string): string[] {
  return Object.entries(api.resolve(schema).properties ?? {}).flatMap(([name, property]) =>
    hasFormat(api.resolve(property), format) ? [name] : [],
  )
}

export const otherSlash = (path: string) => (path.endsWith('/') ? path.slice(0, -1) : `${path}/`)

export function hasFormat(schema: Schema, format: string): boolean {
  if (schema.format === format) return true
  const parts = [...(schema.anyOf ?? []), ...(schema.items ? [schema.items] : [])]
  return parts.some((part) => hasFormat(part, format))
}

async function makeAt(
  { operations }: Api,
  call: Caller,
  template: string,
  path: string,
): Promise<Reply | undefined> {
  const maker = operations.find(({ method, path }) => method === 'POST' && path === template)
  return maker?.body && call('POST', path, bodyOf(maker))
}

async function firstAt(
  { operations }: Api,
  call: Caller,
  template: string,
  path: string,
): Promise<Reply | undefined> {
  const list = operations.find(({ method, path }) => method === 'GET' && path === template)
  if (!list) return undefined
  const first = async () => {
    const reply = await call('GET', path)
    return { ...reply, body: reply.body?.results?.[0] }
  }
  const found = await first()
  if (found.body || !(path in PROVOKED)) return found
  await PROVOKED[path]!(call)
  return first()
}

/** Lists of documents that only the server creates, and how to make it create one. */
export const PROVOKED: Record<string, (call: Caller, words?: string) => Promise<void>> = {
  '/api/conflicts/': provokeConflict,
  '/api/account/passkeys/': async (call, name) =>
    void (await withPasskey(call, name ? { name } : {})),
}

/** Lists that are never empty. */
export const NEVER_EMPTY: ReadonlySet<string> = new Set([
  '/api/account/sessions/',
  '/api/account/events/',
  '/api/changes/',
])

/** Two devices create the same document, unaware of each other. */
async function provokeConflict(call: Caller, words = 'Milk') {
  const id = randomUUID()
  for (const title of [words, `${words}, or not`])
    await call('POST', '/replication/tasks/0/push', [
      { newDocumentState: { id, title, _deleted: false } },
    ])
}

const unescaped = (name: string) => decodeURIComponent(name).replace(/~1/g, '/').replace(/~0/g, '~')

/** Makes the references of a part of the document absolute. */
function absolute(schema: Schema): Schema {
  return JSON.parse(JSON.stringify(schema), (key, value) =>
    key === '$ref' && typeof value === 'string' && value.startsWith('#') ? BASE + value : value,
  )
}
