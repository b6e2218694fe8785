import { stringify } from 'yaml'
import * as z from 'zod'
import {
  type ClientEvents,
  frameSchema,
  handshakeSchema,
  Problem,
  problemSchema,
  type Resource,
  readySchema,
  renewalResultSchema,
  resources,
  type ServerEvents,
  wireDocumentOf,
} from '../../../protocol/index.ts'
import { lazily } from '../../runtime/lazily.ts'
import { exampleDocument } from '../examples.ts'
import { type Direction, namedSchemas, namesOfParts, referredTo, referTo } from './named-schemas.ts'

interface About {
  version: string
  publicUrl: string | undefined
}

/** The AsyncAPI document as JSON and YAML, generated from the schemas of the protocol when it is first needed. */
export function asyncApiTexts(about: About) {
  const document = lazily(() => describe(about))
  return {
    json: lazily(() => JSON.stringify(document(), null, 2)),
    yaml: lazily(() => stringify(document(), { aliasDuplicateObjects: false })),
  }
}

function describe({ version, publicUrl }: About): object {
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Tasktide, live',
      version,
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
      description: INTRODUCTION,
      tags: [{ name: 'sync', description: 'Live changes of a copy on a device.' }],
    },
    defaultContentType: 'application/json',
    servers: { live: serverAt(publicUrl) },
    channels: {
      live: {
        address: '/',
        description: 'The main Socket.IO namespace: all changes of one user.',
        servers: [{ $ref: '#/servers/live' }],
        messages: Object.fromEntries(
          Object.keys(messages).map((name) => [name, { $ref: `#/components/messages/${name}` }]),
        ),
        bindings: { ws: { method: 'GET', query: HANDSHAKE_QUERY, bindingVersion: '0.1.0' } },
      },
    },
    operations: {
      connect: {
        action: 'receive',
        summary: 'Connect and receive changes',
        description:
          'Opens a WebSocket with an access token. The response is the first event, or the reason why there is none.',
        ...onChannel('connect'),
        reply: onChannel('ready', 'connect_error'),
      },
      send_changes: {
        action: 'send',
        summary: 'Send changes',
        description: 'The server sends every change of the user, whichever client made it.',
        ...onChannel('changes'),
      },
      renew: {
        action: 'receive',
        summary: 'Renew the access token',
        description: 'Keeps the socket open beyond the 15 minutes of an access token.',
        ...onChannel('renew'),
        reply: onChannel('renewed'),
      },
    },
    components: {
      securitySchemes: {
        access_token: {
          type: 'apiKey',
          in: 'password',
          description:
            'The `access` token of `POST /api/token/`, sent as `token` in Socket.IO’s `auth`: in the first packet, not in the URL or a header. It expires after 15 minutes.',
        },
      },
      messages: Object.fromEntries(
        Object.entries(messages).map(([name, { schema: _, examples, ...message }]) => [
          name,
          {
            name,
            ...message,
            payload: referTo(name),
            examples: Object.entries(examples).map(([name, payload]) => ({ name, payload })),
          },
        ]),
      ),
      schemas: { ...schemasOf(sent, 'output'), ...schemasOf(received, 'input') },
    },
  }
}

const INTRODUCTION = `Changes of a user's documents in real time, over Socket.IO: WebSocket transport only, protocol 5 (socket.io-client 4).

1. Connect with \`auth: {token}\`.
2. On \`ready\`, pull the missing changes (see \`GET /api/schema/\`).
3. Apply each \`changes\` event whose \`prev\` is the client's position; otherwise pull.
4. \`renew\` the token before it expires.

The server disconnects the socket when the token expires, when the session ends (logout, a stolen token, a deactivated account), and when the server stops. No event follows. Refresh the token, reconnect, and pull on \`ready\`.

The payload of a message is the first argument of the event of that name. Clients must ignore unknown events, resources and fields.`

interface Message {
  title: string
  summary: string
  description: string
  schema: z.ZodType
  examples: Record<string, unknown>
}

const replicas = Object.values<Resource>(resources).map(
  (resource) => [resource, wireDocumentOf(resource)] as const,
)

/** The frame of the protocol, with a schema for the documents of each resource. */
const changes = frameSchema.extend({
  documents: z
    .strictObject(
      Object.fromEntries(
        replicas.map(([{ name }, replica]) => [name, z.array(replica).optional()]),
      ),
    )
    .optional()
    .describe(frameSchema.shape.documents.description!),
})

const sent: Record<keyof ServerEvents | 'connect_error' | 'renewed', Message> = {
  ready: {
    title: 'Ready',
    summary: 'The first event. Every later change follows.',
    description:
      'The feed is at `seq`. A client that already has this checkpoint is up to date; any other client pulls.',
    schema: readySchema,
    examples: { usual: { seq: 12, checkpoint: { id: '1', lwt: 12 } } },
  },
  changes: {
    title: 'Changes',
    summary: 'The changes of all resources after `prev` up to `seq`, each document once.',
    description:
      'A client that is already at `seq` ignores the frame. A client that has everything up to `prev` applies the documents, tombstones (`_deleted`) included, and is then at `seq`. Any other client pulls. A frame without `documents` also means “pull”: there were too many changes, or the client reads too slowly. A resource that is not in `documents` has no changes.',
    schema: changes,
    examples: {
      usual: {
        prev: 12,
        seq: 13,
        checkpoint: { id: '1', lwt: 13 },
        documents: { tasks: [replicaExample(resources.tasks)] },
      },
      pull: { prev: 13, seq: 513, checkpoint: { id: '1', lwt: 513 } },
    },
  },
  connect_error: {
    title: 'Connect error',
    summary: 'The handshake failed.',
    description:
      '`data` is a problem, as in HTTP responses. 401: refresh the token and reconnect. 429 (`too_many_connections`): this user has 20 sockets on this node, unless configured otherwise; pull every 15 seconds, and reconnect later. 503: wait and reconnect. Socket.IO clients do not reconnect by themselves after this.',
    schema: z.strictObject({
      message: problemSchema.shape.code.describe('The problem’s code.'),
      data: problemSchema,
    }),
    examples: { usual: { message: 'token_not_valid', data: refusalExample() } },
  },
  renewed: {
    title: 'Renewed',
    summary: 'The acknowledgement of `renew`.',
    description: 'With `ok: false` the socket keeps its current token until that expires.',
    schema: renewalResultSchema,
    examples: {
      usual: { ok: true, expires_at: '2026-11-22T08:45:00.000Z' },
      refused: { ok: false, code: 'token_not_valid' },
    },
  },
}

const received: Record<keyof ClientEvents | 'connect', Message> = {
  connect: {
    title: 'Connect',
    summary: 'The handshake: Socket.IO’s `auth`.',
    description:
      'The server responds with `ready` or `connect_error`. It closes a connection without a handshake after 10 seconds.',
    schema: handshakeSchema,
    examples: { usual: { token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…' } },
  },
  renew: {
    title: 'Renew',
    summary: 'A new access token of the same session, sent before the current one expires.',
    description: 'Emit it with an acknowledgement. The socket keeps its position in the feed.',
    schema: z.string().describe('The new `access` token.'),
    examples: { usual: 'eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…' },
  },
}

const messages: Readonly<Record<string, Message>> = { ...received, ...sent }

/** The query of a client that does not use a Socket.IO library. */
const HANDSHAKE_QUERY = {
  type: 'object',
  properties: { EIO: { const: '4' }, transport: { const: 'websocket' } },
  required: ['EIO', 'transport'],
}

/** Without a public URL, the server is the host that served this document. */
function serverAt(publicUrl: string | undefined): object {
  const { host, protocol } = new URL(publicUrl ?? 'http://localhost:3000')
  return {
    host: publicUrl ? host : '{host}',
    ...(!publicUrl && {
      variables: { host: { default: host, description: 'The host that served this document.' } },
    }),
    pathname: '/socket.io/',
    protocol: protocol === 'https:' ? 'wss' : 'ws',
    protocolVersion: '13',
    security: [{ $ref: '#/components/securitySchemes/access_token' }],
  }
}

function onChannel(...names: string[]): object {
  return {
    channel: { $ref: '#/channels/live' },
    messages: names.map((name) => ({ $ref: `#/channels/live/messages/${name}` })),
  }
}

function replicaExample(resource: Resource): object {
  return { ...exampleDocument(resource), _deleted: false }
}

function refusalExample(): object {
  return new Problem(
    'token_not_valid',
    'The token has expired; refresh it, or sign in again.',
  ).body()
}

/** The payloads of messages, and their named parts. AsyncAPI uses draft 07. */
function schemasOf(
  messages: Readonly<Record<string, Message>>,
  direction: Direction,
): ReturnType<typeof namedSchemas> {
  const names = namesOfParts()
  for (const [name, { schema }] of Object.entries(messages)) names.set(schema, name)
  return referredTo(namedSchemas(names, direction, 'draft-7'), Object.keys(messages).map(referTo))
}
