import type { Request } from 'express'
import * as z from 'zod'
import {
  BUCKETS,
  type Checkpoint,
  conflictsSchema,
  digestResponseSchema,
  isPushRow,
  MAX_PULL_LIMIT,
  MAX_PUSH_BYTES,
  MAX_PUSH_ROWS,
  Problem,
  PULL_RESULT,
  PUSH_RESULT,
  type PushResponse,
  pullResponseSchema,
  pushResponseSchema,
  pushRowSchema,
  REPLICA_HEADER,
  type ReplicaState,
  type Resource,
  replicaSchema,
  type WireDocument,
  wireDocumentOf,
} from '../../../protocol/index.ts'
import type { Metrics } from '../../runtime/metrics.ts'
import { pause } from '../../runtime/pauses.ts'
import { partUpTo } from '../../sync/cursors.ts'
import { compare } from '../../sync/digest.ts'
import type { Positions } from '../../sync/positions.ts'
import { pull, push } from '../../sync/replicate.ts'
import type { Store } from '../../sync/store.ts'
import { wholeNumber } from '../documents/url-values.ts'
import { exampleDocument } from '../examples.ts'
import { type Call, type Header, type Operation, operation, type Parameter } from '../operation.ts'
import { scopesOf } from '../scopes.ts'
import type { LongPages } from './long-pages.ts'
import type { PullStreams } from './pull-streams.ts'

const DEFAULT_LIMIT = 100
const MAX_SEQ = Number.MAX_SAFE_INTEGER

interface ReplicationDependencies {
  store: Store
  streams: PullStreams
  metrics: Pick<Metrics, 'selfCheck'>
  positions: Pick<Positions, 'note'>
  longPage: LongPages
  now: () => Date
}

/** The replication endpoints of a resource, in the format of RxDB's clients. */
export function replicationOperations(
  resource: Resource,
  { store, streams, metrics, positions, longPage, now }: ReplicationDependencies,
): Operation[] {
  const { name, version } = resource
  const path = `/replication/${name}/${version}`
  const common = {
    tag: `replication of ${name}`,
    access: 'bearer',
    scopes: scopesOf(resource, 'read'),
  } as const
  const example = { ...exampleDocument(resource), _deleted: false }
  // Prometheus sees no increase in a counter that begins with 1.
  for (const result of digestResponseSchema.shape.result.options) metrics.selfCheck(name, result, 0)
  return [
    operation({
      ...common,
      id: `pull_${name}`,
      method: 'get',
      compressed: true,
      path: `${path}/pull`,
      summary: `Pull changes of ${name}`,
      description: `Returns the changes after a checkpoint, tombstones included. A page shorter than \`limit\` is the last one. With \`Accept: ${PULL_RESULT}\` a page ends after about a megabyte, and \`has_more\` says whether more follow.`,
      query: [...CHECKPOINT_PARAMETERS, LIMIT_PARAMETER, BUCKETS_PARAMETER],
      headers: [REPLICA],
      answers: {
        200: {
          description: 'The changes, and the checkpoint to continue from.',
          name: `${name}Changes`,
          schema: pullResponseSchema
            .omit({ has_more: true })
            .extend({ documents: z.array(wireDocumentOf(resource)) }),
          example: {
            documents: [example],
            checkpoint: { id: '1', lwt: 12 },
          },
          onRequest: {
            [PULL_RESULT]: {
              name: `${name}Page`,
              schema: pullResponseSchema.extend({ documents: z.array(wireDocumentOf(resource)) }),
              example: { documents: [example], checkpoint: { id: '1', lwt: 12 }, has_more: true },
            },
          },
        },
      },
      problems: ['checkpoint_expired'],
      async handle({ user, session, expires, query, request }) {
        const { limit = DEFAULT_LIMIT, buckets } = query as { limit?: number; buckets?: number[] }
        const from = checkpointOf(query) ?? START
        const replica = replicaOf(request)
        const next = (checkpoint: Checkpoint, documents: number) =>
          pull(store, user, resource, checkpoint, documents, replica, buckets)
        const page = await next(from, limit)
        const device = { user, session }
        // A self-check reads documents that the device has already.
        if (!buckets) {
          positions.note(device, 'stored', name, partUpTo(from))
          positions.note(device, 'pulled', name, partUpTo(page.checkpoint, from.lwt))
        }
        const { documents, count, has_more, ...rest } = page
        if (acceptsMedia(request, PULL_RESULT)) {
          const headers = { 'Content-Type': PULL_RESULT }
          return { status: 200, headers, body: withDocuments(documents, { ...rest, has_more }) }
        }
        if (has_more && count < limit)
          return longPage({ call: { user, session, expires }, limit, first: page, next })
        return { status: 200, body: withDocuments(documents, rest) }
      },
    }),
    operation({
      ...common,
      id: `digest_${name}`,
      method: 'get',
      path: `${path}/digest`,
      summary: `Compare ${name}`,
      description:
        'Compares the documents of a client with those of the server at the checkpoint of the client. `behind`: they have changed since; pull first. `incomparable`: the client has another revision. `different`: `buckets` has the digests of the server; pull the `buckets` that differ.',
      limit: 'user',
      query: [...CHECKPOINT_PARAMETERS, DIGEST_PARAMETER, revisionParameter(resource)],
      headers: [REPLICA],
      answers: {
        200: {
          description: 'The result.',
          name: `${name}Digest`,
          schema: digestResponseSchema,
          example: { result: 'equal' },
        },
      },
      problems: ['checkpoint_expired'],
      async handle({ user, query, request }) {
        const { digest, revision = resource.revision } = query as Partial<DigestQuery>
        const from = checkpointOf(query) ?? START
        const held = { from, digest, revision, replica: replicaOf(request) }
        const body = await compare(store, user, resource, held)
        metrics.selfCheck(name, body.result)
        return { status: 200, body }
      },
    }),
    operation({
      ...common,
      id: `stream_${name}`,
      method: 'get',
      path: `${path}/pullStream`,
      summary: `Stream changes of ${name}`,
      description:
        'Sends server-sent events, `data: {"documents": […], "checkpoint": {…}}`, in feed order. Pull when the stream opens. It ends when the token expires and whenever the order cannot be guaranteed: open it again. Each user may have 20 at a time by default: with `Accept: text/event-stream`, a further one ends at once with `retry` and an event `refused`, whose data is the problem.',
      answers: {
        200: {
          description: 'The stream.',
          name: `${name}Events`,
          schema: z.string(),
          example: ': open\n\n',
          mediaTypes: ['text/event-stream'],
        },
      },
      problems: ['too_many_connections'],
      handle: (call) => streams.serve(resource, call),
    }),
    operation({
      ...common,
      scopes: scopesOf(resource, 'write'),
      id: `push_${name}`,
      writes: true,
      repeats: 'harmless',
      method: 'post',
      path: `${path}/push`,
      summary: `Push changes of ${name}`,
      description: `Returns the stored states that differ from the pushed ones. With \`Accept: ${PUSH_RESULT}\` it also returns the rejected rows, which the client keeps; otherwise they are kept in the conflict journal. All other rows are stored either way.`,
      query: CHECKPOINT_PARAMETERS,
      headers: [REPLICA],
      maxBodyBytes: MAX_PUSH_BYTES,
      body: {
        name: `${name}Push`,
        schema: z.array(pushRowSchema).max(MAX_PUSH_ROWS),
        elements: { schema: pushRowSchema, isPlain: isPushRow, max: MAX_PUSH_ROWS },
        examples: { usual: [{ newDocumentState: example }] },
      },
      answers: {
        200: {
          description: 'The conflicts.',
          name: `${name}Conflicts`,
          schema: conflictsSchema,
          example: [],
          onRequest: {
            [PUSH_RESULT]: {
              name: `${name}PushResult`,
              schema: pushResponseSchema,
              example: { conflicts: [], rejected: [], checkpoint: { id: '1', lwt: 13 } },
            },
          },
        },
      },
      problems: ['invalid', 'checkpoint_expired'],
      async handle({ user, session, query, body, request }) {
        const keepsRejected = acceptsMedia(request, PUSH_RESULT)
        const at = now().toISOString()
        const replica = replicaOf(request)
        const from = checkpointOf(query)
        const device = { user, session }
        const encode = async ({ conflicts, ...rest }: PushResponse) => {
          const states = await encodeList(conflicts)
          return keepsRejected ? `{"conflicts":${states},${JSON.stringify(rest).slice(1)}` : states
        }
        const options = { keepsRejected, from, replica, encode, pause }
        const answer = await push(store, device, resource, body, at, options)
        if (from) positions.note(device, 'stored', name, partUpTo(from))
        if (!keepsRejected) return { status: 200, body: answer }
        return { status: 200, headers: { 'Content-Type': PUSH_RESULT }, body: answer }
      },
    }),
  ]
}

const acceptsMedia = (request: Request, type: string) =>
  request.accepts(['application/json', type]) === type

/** The documents are JSON text already, from Postgres. */
const withDocuments = (documents: string, rest: object) =>
  `{"documents":${documents},${JSON.stringify(rest).slice(1)}`

async function encodeList(documents: readonly WireDocument[]): Promise<string> {
  const texts: string[] = []
  for (const document of documents) {
    await pause()
    texts.push(JSON.stringify(document))
  }
  return `[${texts.join()}]`
}

const START: Checkpoint = { id: '', lwt: 0 }

/** The client's last checkpoint, if it sends one. */
function checkpointOf(query: Call['query']): Checkpoint | undefined {
  const { lwt, id } = query as Partial<Checkpoint>
  return lwt === undefined && id === undefined ? undefined : { id: id ?? '', lwt: lwt ?? 0 }
}

/** @throws Problem `invalid` */
function replicaOf(request: Request): ReplicaState | undefined {
  const given = request.get(REPLICA_HEADER)
  if (given === undefined) return undefined
  const { data, success } = replicaSchema.safeParse(parsed(given))
  if (success) return data
  const remedy = 'Send JSON such as {"seen":[{"id":"1","lwt":13}]}, or omit the header.'
  throw new Problem('invalid', `The header ${REPLICA_HEADER} is invalid. ${remedy}`, {
    errors: { [REPLICA_HEADER]: [remedy] },
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const REPLICA: Header = {
  name: REPLICA_HEADER,
  description:
    'For clients that store the checkpoint of each push: `{"seen": […]}` with the latest one, `{"seen": []}` if it has stored nothing yet (a pull from the start then leaves out tombstones), or `{"expired": […]}` with what has expired during a snapshot.',
}

const CHECKPOINT_PARAMETERS: readonly Parameter[] = [
  {
    name: 'lwt',
    description: 'From the last checkpoint; 0 at the start.',
    schema: wholeNumber(0, MAX_SEQ),
    json: { type: 'integer', minimum: 0 },
  },
  {
    name: 'id',
    description: 'From the last checkpoint; empty at the start.',
    schema: z.string().max(100),
    mayBeEmpty: true,
  },
]

interface DigestQuery {
  digest: string
  revision: number
}

const DIGEST_PARAMETER: Parameter = {
  name: 'digest',
  description: 'The digest of all documents that the client has, without tombstones.',
  schema: z.string().regex(/^[0-9a-f]{16}$/, 'Use 16 hexadecimal digits in lower case.'),
}

const revisionParameter = ({ revision }: Resource): Parameter => ({
  name: 'revision',
  description: `The revision of the definition that the client has. Default: ${revision}.`,
  schema: wholeNumber(0, MAX_SEQ),
  json: { type: 'integer', minimum: 0 },
})

const NUMBERS = /^\d{1,3}(,\d{1,3})*$/
const NUMBERS_REMEDY = `Use numbers from 0 to ${BUCKETS - 1}.`
const BUCKETS_PARAMETER: Parameter = {
  name: 'buckets',
  description:
    'Only documents in these buckets of the digest: the last bytes of their ids as decimal numbers, separated by commas.',
  schema: z
    .string()
    .regex(NUMBERS, NUMBERS_REMEDY)
    .max(4 * BUCKETS)
    .transform((text) => text.split(',').map(Number))
    .refine((buckets) => buckets.every((one) => one < BUCKETS), NUMBERS_REMEDY),
  json: { type: 'string', pattern: NUMBERS.source },
}

const LIMIT_PARAMETER: Parameter = {
  name: 'limit',
  description: `The maximum number of documents. Default: ${DEFAULT_LIMIT}.`,
  schema: wholeNumber(0, MAX_PULL_LIMIT),
  json: { type: 'integer', minimum: 0, maximum: MAX_PULL_LIMIT },
}
