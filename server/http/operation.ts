import type { ServerResponse } from 'node:http'
import type { Request } from 'express'
import type * as z from 'zod'
import type { ProblemCode } from '../../protocol/index.ts'
import type { Permission } from '../accounts/permissions.ts'

/**
 * One thing that the API does, described once: the route, its checks, its place in the OpenAPI
 * document and the tests that walk that document all come from this value.
 */
export interface Operation {
  readonly id: string
  readonly method: Method
  /** As in OpenAPI: `/api/tasks/{id}/`. Served with and without the last slash. */
  readonly path: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  /** Who may call: whoever holds an access token; anybody, so many times a minute; or anybody. */
  readonly access: 'bearer' | 'limited' | 'open'
  /** What the caller's role has to include, with `bearer`. None: the call is about what is their own. */
  readonly permission?: Permission
  /**
   * `account`, with `bearer`: so many times a minute for an account, all such operations together.
   * `refusals`, with `limited`: only attempts that are refused count, because a token cannot be guessed
   * and many devices share an address.
   */
  readonly limit?: 'account' | 'refusals'
  readonly query?: readonly Parameter[]
  readonly headers?: readonly Header[]
  readonly body?: Body
  /** How large the body may be, where that is not the usual. */
  readonly maxBodyBytes?: number
  /** What it answers when all is well, by status. */
  readonly answers: Readonly<Record<number, AnswerDescription>>
  /** How it may refuse, beyond what every operation of its form may. */
  readonly problems: readonly ProblemCode[]
  readonly handle: (call: Call) => Promise<Answer>
}

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'

export interface Parameter {
  readonly name: string
  readonly description: string
  /** Parses the text that stands in the URL. */
  readonly schema: z.ZodType
  /** Its JSON Schema, where the text form of `schema` would say less. */
  readonly json?: object
  /** Whether an empty value means something else than none. */
  readonly mayBeEmpty?: boolean
}

export interface Header {
  readonly name: 'If-Match' | 'If-None-Match'
  readonly description: string
}

interface Body {
  /** How the schema is called in the document. */
  readonly name: string
  readonly schema: z.ZodType
  readonly examples: Readonly<Record<string, unknown>>
}

export interface AnswerDescription {
  readonly description: string
  readonly name?: string
  readonly schema?: z.ZodType
  readonly example?: unknown
  readonly headers?: readonly ('ETag' | 'Location')[]
  /** When the schema is given in another form too: its media types, JSON first. */
  readonly mediaTypes?: readonly string[]
  /** What is answered instead to those who ask for these media types. */
  readonly onRequest?: Readonly<
    Record<string, Pick<AnswerDescription, 'name' | 'schema' | 'example'>>
  >
}

/** A request after its checks. */
export interface Call<B = never> {
  /** Whose request it is. Empty for an operation that anybody may call. */
  readonly user: string
  readonly session: string
  /** When its token runs out: seconds since 1970. */
  readonly expires: number
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly body: B
  readonly request: Request
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** JSON text as it is sent, or a value to be written as such. */
  readonly body?: string | object
  /** Writes the body itself, over time, once the headers are out. Not called for HEAD. */
  readonly stream?: (response: ServerResponse) => void
}

/** Ties the type of the body that `handle` sees to the schema that checks it. */
export function operation<S extends z.ZodType = z.ZodNever>(
  description: Omit<Operation, 'handle' | 'body'> & {
    body?: Body & { schema: S }
    handle: (call: Call<z.output<S>>) => Promise<Answer>
  },
): Operation {
  return description as unknown as Operation
}
