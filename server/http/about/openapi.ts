import {
  OpenApiBuilder,
  type OperationObject,
  type ParameterObject,
  type PathsObject,
  type ReferenceObject,
  type ResponseObject,
  type SchemaObject,
  type SecurityRequirementObject,
} from 'openapi3-ts/oas31'
import type * as z from 'zod'
import {
  PROBLEMS,
  Problem,
  type ProblemCode,
  problemSchema,
  type Resource,
  resources,
} from '../../../protocol/index.ts'
import { rolesWith } from '../../accounts/permissions.ts'
import { lazily } from '../../runtime/lazily.ts'
import {
  type AnswerDescription,
  type ErrorForm,
  type Header,
  isCounted,
  type Operation,
} from '../operation.ts'
import {
  type JsonSchemas,
  jsonSchema,
  type Names,
  namedSchemas,
  namesOfParts,
  referredTo,
  referTo,
} from './named-schemas.ts'
import { describeTag } from './tags.ts'

interface About {
  version: string
  publicUrl: string | undefined
}

/** The OpenAPI document as JSON and YAML, generated from the operations when it is first needed. */
export function openApiTexts(operations: readonly Operation[], about: About) {
  const builder = lazily(() => describe(operations, about))
  return {
    json: lazily(() => builder().getSpecAsJson()),
    yaml: lazily(() => builder().getSpecAsYaml()),
  }
}

function describe(operations: readonly Operation[], { version, publicUrl }: About): OpenApiBuilder {
  const builder = OpenApiBuilder.create()
    .addOpenApiVersion('3.1.0')
    .addInfo({
      title: 'Tasktide',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: INTRODUCTION,
    })
    .addServer({ url: publicUrl ?? '/' })
    .addSecurityScheme('access_token', {
      type: 'http',
      scheme: 'bearer',
      bearerFormat: 'JWT',
      description:
        'The `access` token of POST /api/token/, without quotes and without `Bearer`. It expires after 15 minutes.',
    })
    .addSecurityScheme('personal_token', {
      type: 'http',
      scheme: 'bearer',
      description:
        'A token of POST /api/account/tokens/, with the scopes that the operation names. Operations that name none need an access token.',
    })
    .addSecurityScheme('password', {
      type: 'http',
      scheme: 'basic',
      description:
        'A username with its password, or with a personal token in place of the password. An account with a second factor needs the latter.',
    })
  // Readers start at the top, and need an account first.
  const tags = new Set(['account', ...operations.map(({ tag }) => tag)])
  for (const name of tags) builder.addTag({ name, description: describeTag(name) })
  const names = namesIn(operations)
  const paths = new Set(operations.map(({ path }) => path))
  for (const path of paths) {
    const atPath = operations.filter((operation) => operation.path === path)
    builder.addPath(
      path,
      Object.fromEntries(
        atPath.map((operation) => [operation.method, describeOne(names, operation)]),
      ),
    )
  }
  for (const header of operations.flatMap(({ headers = [] }) => headers))
    if (header.shared) builder.addParameter(header.shared, describeHeader(header))
  const schemas = componentsOf(names, builder.getSpec().paths!)
  for (const [name, schema] of Object.entries(schemas)) builder.addSchema(name, schema)
  return builder
}

const INTRODUCTION = `Tasks, categories and a profile per user, with accounts and sync.

1. Register with \`POST /api/register/\` and sign in with \`POST /api/token/\`.
2. Press **Authorize** and paste the \`access\` token.
3. Try any operation.

Every error is an RFC 9457 problem with a \`code\` for programs and a \`detail\` for people; below \`/couch/\` it is one of CouchDB, with \`error\` and \`reason\`. Paths work with and without a trailing slash. What writes documents takes an \`Idempotency-Key\`, so that it can be repeated safely. Operations that count attempts or written documents say in \`RateLimit-Policy\` and \`RateLimit\` what is left, and every 429 says in \`Retry-After\` when to try again.`

function describeOne({ input, output }: BothNames, operation: Operation): OperationObject {
  const { body } = operation
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    ...descriptionOf(operation),
    security: securityOf(operation),
    parameters: parametersOf(operation),
    ...(body && {
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: referTo(input.get(body.schema)!),
            examples: Object.fromEntries(
              Object.entries(body.examples).map(([name, value]) => [name, { value }]),
            ),
          },
        },
      },
    }),
    responses: {
      ...Object.fromEntries(
        Object.entries(operation.answers).map(([status, answer]) => [
          status,
          answerOf(output, answer),
        ]),
      ),
      ...refusalsOf(output, operation),
    },
  }
}

function securityOf({ access, scopes, takesPassword }: Operation): SecurityRequirementObject[] {
  if (access !== 'bearer') return []
  return [
    { access_token: [] },
    ...(scopes ? [{ personal_token: [...scopes] }] : []),
    ...(takesPassword ? [{ password: [] }] : []),
  ]
}

function descriptionOf({ description, permission }: Operation): { description?: string } {
  const who = permission && `Requires the role ${rolesWith(permission).join(' or ')}.`
  const text = [description, who].filter((part) => part !== undefined).join(' ')
  return text === '' ? {} : { description: text }
}

function parametersOf({
  path,
  params = {},
  query = [],
  headers = [],
}: Operation): (ParameterObject | ReferenceObject)[] {
  return [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]): ParameterObject => {
      const { json, ...about } = params[name!] ?? { json: { type: 'string', format: 'uuid' } }
      return { name: name!, in: 'path', required: true, ...about, schema: json as SchemaObject }
    }),
    ...query.map(
      ({ name, description, schema, json, isList, mayRepeat, mayBeEmpty }): ParameterObject => ({
        name,
        in: 'query',
        description,
        schema: (json as SchemaObject) ?? jsonSchema(schema, 'input'),
        ...((isList || mayRepeat) && { style: 'form', explode: mayRepeat === true }),
        ...(mayBeEmpty && { allowEmptyValue: true }),
      }),
    ),
    ...headers.map((header) =>
      header.shared ? { $ref: `#/components/parameters/${header.shared}` } : describeHeader(header),
    ),
  ]
}

function describeHeader({ name, description, maxLength }: Header): ParameterObject {
  return {
    name,
    in: 'header',
    description,
    schema: { type: 'string', ...(maxLength !== undefined && { maxLength }) },
  }
}

function answerOf(names: Names, answer: AnswerDescription): ResponseObject {
  const {
    description,
    schema,
    example,
    headers,
    mediaTypes = ['application/json'],
    onRequest = {},
  } = answer
  const content = schema && {
    schema: referTo(names.get(schema)!),
    ...(example !== undefined && { example }),
  }
  return {
    description,
    ...(headers && {
      headers: Object.fromEntries(headers.map((header) => [header, ANSWER_HEADERS[header]])),
    }),
    ...(content && {
      content: {
        ...Object.fromEntries(mediaTypes.map((mediaType) => [mediaType, content])),
        ...Object.fromEntries(
          Object.entries(onRequest).map(([mediaType, other]) => [
            mediaType,
            {
              schema: referTo(names.get(other.schema!)!),
              example: other.example,
            },
          ]),
        ),
      },
    }),
  }
}

const ANSWER_HEADERS = {
  ETag: {
    description: 'The version of the document.',
    schema: { type: 'string' },
    example: '"12"',
  },
  Location: { description: 'The URL of the document.', schema: { type: 'string' } },
} as const

/** All problems of the operation, by status. */
function refusalsOf(names: Names, operation: Operation): Record<string, ResponseObject> {
  const form = operation.errors ?? formOfProblems(operation)
  const codes = new Set<ProblemCode>([
    ...operation.problems,
    ...(operation.access === 'bearer'
      ? (['unauthenticated', 'token_not_valid', 'account_deleted', 'too_slow'] as const)
      : []),
    ...(operation.takesPassword ? (['credentials_not_valid'] as const) : []),
    ...(operation.access === 'bearer' && !operation.toSetUpFactor
      ? (['factor_setup_required'] as const)
      : []),
    // A role without the permission, or a personal token without the scope.
    ...(operation.access === 'bearer' ? (['forbidden'] as const) : []),
    // Too many, or of too many bytes.
    ...(isCounted(operation) ? (['too_many_requests'] as const) : []),
    ...(operation.body
      ? (['invalid', 'malformed', 'too_large', 'unsupported_media_type'] as const)
      : []),
    ...(canBeInvalid(operation) ? (['invalid'] as const) : []),
    'internal',
    'unavailable',
  ])
  const byStatus = [...codes].reduce(groupByStatus, {})
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, codesOfStatus]) => [
      status,
      {
        description: codesOfStatus.map((code) => PROBLEMS[code].title).join('. '),
        ...((status === '429' || status === '503') && {
          headers: {
            'Retry-After': {
              description: 'Seconds to wait before the next request.',
              schema: { type: 'integer' },
            },
          },
        }),
        content: {
          [form.mediaType]: {
            schema: referTo(names.get(form.schema)!),
            examples: Object.fromEntries(
              codesOfStatus.map((code) => [code, { value: form.example(new Problem(code)) }]),
            ),
          },
          ...(form.asText && {
            'text/plain': {
              schema: { type: 'string' },
              example: form.asText(new Problem(codesOfStatus[0]!)),
            },
          }),
        },
      },
    ]),
  )
}

/** By an unknown parameter in the query, or by what cannot be decoded in the path. */
const canBeInvalid = ({ path, query = [], ignoresOthers }: Operation) =>
  !ignoresOthers || query.length > 0 || path.includes('{')

function formOfProblems({ answers, body }: Operation): ErrorForm {
  const field = body ? Object.keys(Object.values(body.examples)[0] as object)[0]! : 'page'
  const current = answers[200]?.example as Record<string, unknown> | undefined
  return {
    name: 'Problem',
    schema: problemSchema,
    mediaType: 'application/problem+json',
    example({ code }) {
      const isOfVersion = code === 'conflict' || code === 'precondition_failed'
      return new Problem(code, undefined, {
        ...(code === 'invalid' && {
          errors: { [field]: ['What is wrong and how to correct it.'] },
        }),
        ...(isOfVersion && current && { current }),
      }).body('a3c1b5d0-6f0e-4c11-9d5c-2f8f5f0f7a10')
    },
  }
}

function groupByStatus(groups: Record<number, ProblemCode[]>, code: ProblemCode) {
  const { status } = PROBLEMS[code]
  groups[status] = [...(groups[status] ?? []), code]
  return groups
}

interface BothNames {
  readonly input: Names
  readonly output: Names
}

/** The names of all schemas: of bodies with their parts, and of answers with theirs. */
function namesIn(operations: readonly Operation[]): BothNames {
  const input = namesOfParts()
  const output = namesOfParts()
  for (const { body, answers, errors } of operations) {
    if (body) addName(input, body)
    if (errors) addName(output, errors)
    for (const answer of Object.values(answers)) {
      for (const one of [answer, ...Object.values(answer.onRequest ?? {})]) addName(output, one)
      for (const [name, schema] of Object.entries(answer.parts ?? {}))
        addName(output, { name, schema })
    }
  }
  return { input, output }
}

/** @throws if another schema has this name */
function addName(
  names: Map<z.ZodType, string>,
  { name, schema }: Pick<AnswerDescription, 'name' | 'schema'>,
): void {
  if (!schema || names.has(schema)) return
  if ([...names.values()].includes(name!)) throw new Error(`Two schemas have the name ${name}.`)
  names.set(schema, name!)
}

/** The schemas that the paths refer to. @throws if a name means one thing in bodies and another in answers */
function componentsOf({ input, output }: BothNames, paths: PathsObject): JsonSchemas {
  const operations = Object.values(paths).flatMap((path: object) => Object.values(path))
  const [bodies, answers] = [namedSchemas(input, 'input'), namedSchemas(output, 'output')]
  for (const resource of Object.values<Resource>(resources)) {
    markReadOnly(answers[output.get(resource.document)!], resource)
    markReadOnly(bodies[input.get(resource.put) ?? ''], resource)
  }
  const sent = referredTo(
    bodies,
    operations.map(({ requestBody = {} }) => requestBody),
  )
  const given = referredTo(
    answers,
    operations.map(({ responses }) => responses),
  )
  for (const [name, schema] of Object.entries(sent))
    if (given[name] && JSON.stringify(given[name]) !== JSON.stringify(schema))
      throw new Error(`${name} is one thing in bodies and another in answers.`)
  return { ...given, ...sent }
}

/** What the server alone writes. A PUT may have it, and it is ignored. */
function markReadOnly(schema: JsonSchemas[string] | undefined, { stamps }: Resource): void {
  const properties = (schema?.properties ?? {}) as Record<string, object>
  for (const name of ['id', 'created_at', 'updated_at', ...Object.keys(stamps)])
    if (properties[name]) properties[name] = { ...properties[name], readOnly: true }
}
