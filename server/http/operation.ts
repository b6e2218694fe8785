import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import type { Transform } from 'node:stream'
import type { Request } from 'express'
import type * as z from 'zod'
import type {
  DEVICE_HEADER,
  Problem,
  ProblemCode,
  REPLICA_HEADER,
  Scope,
} from '../../protocol/index.ts'
import type { Permission } from '../accounts/permissions.ts'
import type { DocumentStore } from '../sync/within.ts'

/**
 * One operation of the API. Its route, its checks, its entry in the OpenAPI document and the tests
 * that walk that document are derived from this value.
 */
export interface Operation {
  readonly id: string
  readonly method: Method
  /** As in OpenAPI: `/api/tasks/{id}/`. Served with and without the last slash. */
  readonly path: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  /** Who may call: with an access token; without one, at a limited rate; or without one and unlimited. */
  readonly access: 'bearer' | 'limited' | 'open'
  /** Whether a username and a password will do, too (RFC 7617), with `bearer`. */
  readonly takesPassword?: true
  /** Whether it serves to set up a second factor: also for people whose role requires one that they lack. */
  readonly toSetUpFactor?: true
  /** The scopes that a personal token needs, with `bearer`. Without them, no such token may do it. */
  readonly scopes?: readonly Scope[]
  /** The required permission, with `bearer`. Without one, the operation covers the caller's own data. */
  readonly permission?: Permission
  /**
   * `account`, with `bearer`: one rate limit per account for all such operations together.
   * `user`, with `bearer`: one per account for this operation.
   * `refusals`, with `limited`: only failed requests count, because a token cannot be guessed and many
   * devices share an address.
   */
  readonly limit?: 'account' | 'user' | 'refusals'
  /** Whether it writes documents: the one of its body, each of a list, or as many as it says. So many a minute. */
  readonly writes?: true | ((body: never) => number)
  /**
   * What keeps a request that is sent twice from having two effects, if its method does not: an Idempotency-Key
   * (idempotency.ts), or that a second one is `harmless` anyway. Others refuse the key.
   */
  readonly repeats?: 'by_key' | 'harmless'
  /**
   * Whether its answers may be compressed, with `bearer`: only the caller's own documents and data, never a
   * token or another secret. Their length tells what they have in common with what others chose.
   */
  readonly compressed?: true
  /** Those of the path that are no UUIDs, by name. */
  readonly params?: Readonly<Record<string, PathParameter>>
  readonly query?: readonly Parameter[]
  /** Whether it ignores other parameters, which clients of another protocol may send. */
  readonly ignoresOthers?: true
  readonly headers?: readonly Header[]
  readonly body?: Body
  /** The maximum size of the body, if it differs from the default. */
  readonly maxBodyBytes?: number
  /** Successful responses, by status. */
  readonly answers: Readonly<Record<number, AnswerDescription>>
  /** Possible problems, in addition to those of every operation of its form. */
  readonly problems: readonly ProblemCode[]
  /** The form of its errors, if they are those of another protocol and no problems. */
  readonly errors?: ErrorForm
  readonly handle: (call: Call) => Promise<Answer>
}

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'

export interface Parameter {
  readonly name: string
  readonly description: string
  /** Parses the text from the URL. */
  readonly schema: z.ZodType
  /** Its JSON Schema, if the one of `schema` is less precise. */
  readonly json?: object
  /** Whether it has several values, separated by commas: each may also have a parameter of its own. */
  readonly isList?: boolean
  /** Whether it may be given several times; then `schema` parses the list of texts. */
  readonly mayRepeat?: boolean
  /** Whether an empty value differs from a missing one. */
  readonly mayBeEmpty?: boolean
}

interface PathParameter {
  readonly description: string
  /** Its JSON Schema. */
  readonly json: object
  readonly example: string
}

/** How errors of another protocol are described. */
export interface ErrorForm {
  /** The name of the schema in the OpenAPI document. */
  readonly name: string
  readonly schema: z.ZodType
  readonly mediaType: string
  example(problem: Problem): object
  /** If some clients get it as text. */
  asText?(problem: Problem): string
}

export interface Header {
  readonly name:
    | 'If-Match'
    | 'If-None-Match'
    | 'Idempotency-Key'
    | typeof REPLICA_HEADER
    | typeof DEVICE_HEADER
  readonly description: string
  /** Where many operations have it: described once, under this name. */
  readonly shared?: string
  readonly maxLength?: number
}

export interface Body {
  /** The name of the schema in the OpenAPI document. */
  readonly name: string
  readonly schema: z.ZodType
  /** Of a large list. */
  readonly elements?: {
    /** Of each element. */
    readonly schema: z.ZodType
    /** Whether the schema would accept an element and change nothing that matters: then it is not asked. */
    readonly isPlain: (element: unknown) => boolean
    /** How many there may be. */
    readonly max: number
  }
  readonly examples: Readonly<Record<string, unknown>>
}

export interface AnswerDescription {
  readonly description: string
  readonly name?: string
  readonly schema?: z.ZodType
  /** Documents and choices in it that have names of their own, for generated clients. */
  readonly parts?: Readonly<Record<string, z.ZodType>>
  readonly example?: unknown
  readonly headers?: readonly ('ETag' | 'Location')[]
  /** The media types, JSON first, if there is more than one. */
  readonly mediaTypes?: readonly string[]
  /** The response for clients that accept these media types. */
  readonly onRequest?: Readonly<
    Record<string, Pick<AnswerDescription, 'name' | 'schema' | 'example'>>
  >
}

/** A validated request. */
export interface Call<B = never> {
  /** The caller's id. Empty for an operation without authentication. */
  readonly user: string
  readonly session: string
  /** When the token expires, in seconds since 1970. */
  readonly expires: number
  /** Whether the limits of an unconfirmed account hold. */
  readonly isLimited: boolean
  /** Of a personal token; undefined for a device. */
  readonly scopes?: readonly Scope[]
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly body: B
  /** Those that belong to the operation. */
  readonly headers: IncomingHttpHeaders
  readonly request: Request
  /** The documents in an open transaction, if the operation is a part of one. */
  readonly within?: DocumentStore
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** JSON text, or a value to serialize. */
  readonly body?: string | object
  /**
   * Streams the body after the headers are sent. Not called for HEAD.
   *
   * @param compressor if the body has to go through one
   */
  readonly stream?: (response: ServerResponse, compressor?: Transform) => void
  /** Whether it waits for news, and so is not compressed: what is written has to arrive. */
  readonly isLive?: true
}

/** Derives the type of the body in `handle` from its schema. */
export function operation<S extends z.ZodType = z.ZodNever>(
  description: Omit<Operation, 'handle' | 'body'> & {
    body?: Body & { schema: S }
    handle: (call: Call<z.output<S>>) => Promise<Answer>
  },
): Operation {
  return description as unknown as Operation
}

/**
 * Whether what its requests and answers occupy is counted, and refused with a 429. Event streams count what waits
 * in them, and refuse in their own way.
 */
export function isCounted({ access, body, answers }: Operation): boolean {
  const isStream = Object.values(answers).some(({ mediaTypes }) =>
    mediaTypes?.includes('text/event-stream'),
  )
  return !isStream && (access !== 'open' || body !== undefined)
}
