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
} from '../../../protocol/index.ts'
import { exampleDocument } from '../examples.ts'

interface About {
  version: string
  publicUrl: string | undefined
}

/** The description of the live events in both its forms, made from the schemas of the protocol. */
export function asyncApiTexts(about: About) {
  const document = describe(about)
  return {
    json: JSON.stringify(document, null, 2),
    yaml: stringify(document, { aliasDuplicateObjects: false }),
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
    },
    defaultContentType: 'application/json',
    servers: { live: serverAt(publicUrl) },
    channels: {
      live: {
        address: '/',
        description: 'The main namespace of Socket.IO: everything of one person.',
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
        summary: 'Hear of the changes from now on',
        ...onChannel('connect'),
        reply: onChannel('ready', 'connect_error'),
      },
      send_changes: {
        action: 'send',
        summary: 'Tell what has changed',
        ...onChannel('changes'),
      },
      renew: {
        action: 'receive',
        summary: 'Go on with another access token',
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
            'The `access` token of `POST /api/token/`, as `token` of Socket.IO’s `auth`: it travels in the first packet, not in the URL and not in a header. It is good for 15 minutes.',
        },
      },
      messages: Object.fromEntries(
        Object.entries(messages).map(([name, { schema: _, examples, ...message }]) => [
          name,
          {
            name,
            ...message,
            payload: { $ref: `#/components/schemas/${name}` },
            examples: Object.entries(examples).map(([name, payload]) => ({ name, payload })),
          },
        ]),
      ),
      schemas: Object.fromEntries(
        Object.entries(messages).map(([name, { schema }]) => [name, jsonSchema(schema)]),
      ),
    },
  }
}

const INTRODUCTION = `What happens to a person's documents, as it happens, over Socket.IO: the websocket transport only, protocol 5 (socket.io-client 4).

1. Connect with \`auth: {token}\`.
2. On \`ready\`, pull what is missing (\`GET /api/schema/\` describes how).
3. Apply each \`changes\` that begins where the client is; at any other, pull.
4. \`renew\` the token before it runs out.

The server cuts the socket when its token runs out, when its session ends (log out, a stolen token, a deactivated account), and when it stops; no event comes after. Refresh the token, connect again, and pull from \`ready\`.

The payload of a message is the first argument of the event that has its name. What a client does not know (an event, a resource, a field), it leaves alone.`

interface Message {
  title: string
  summary: string
  description: string
  schema: z.ZodType
  examples: Record<string, unknown>
}

const replicas = Object.values<Resource>(resources).map(
  (resource) => [resource, resource.document.extend({ _deleted: z.boolean() })] as const,
)

/** The frame as it stands in the protocol, with each resource's documents told to the field. */
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

const events = {
  ready: {
    title: 'Ready',
    summary: 'The first event: from here on nothing is left out.',
    description:
      'The feed is at `seq`. A client that has not come so far pulls; one that has, has everything.',
    schema: readySchema,
    examples: { usual: { seq: 12 } },
  },
  changes: {
    title: 'Changes',
    summary: 'The changes of all resources after `prev` up to `seq`, each document once.',
    description:
      'A client that has come to `seq` already leaves the frame alone. One that has everything up to `prev` applies the documents, tombstones (`_deleted`) included, and has everything up to `seq`. Any other client pulls, and so does one that gets a frame without `documents`: there were too many changes, or it read too slowly. A resource that is not in `documents` has no changes.',
    schema: changes,
    examples: {
      usual: { prev: 12, seq: 13, documents: { tasks: [replicaExample(resources.tasks)] } },
      pull: { prev: 13, seq: 513 },
    },
  },
  renew: {
    title: 'Renew',
    summary: 'Another access token of the same session, sent before the current one runs out.',
    description:
      'Emit it with an acknowledgement. The socket and its place in the feed stay as they are.',
    schema: handshakeSchema.shape.token,
    examples: { usual: 'eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…' },
  },
} satisfies Record<keyof (ServerEvents & ClientEvents), Message>

const messages: Readonly<Record<string, Message>> = {
  connect: {
    title: 'Connect',
    summary: 'The handshake: Socket.IO’s `auth`.',
    description:
      'Answered with `ready`, or refused with `connect_error`. The connection is closed when it does not come within 10 seconds.',
    schema: handshakeSchema,
    examples: { usual: { token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…' } },
  },
  connect_error: {
    title: 'Connect error',
    summary: 'The handshake is refused.',
    description:
      '`data` is a problem, as in every refusal over HTTP. 401: refresh the token, and connect again. 503: wait, and connect again. Socket.IO’s clients do not try again by themselves.',
    schema: z.strictObject({
      message: problemSchema.shape.code.describe('The problem’s code.'),
      data: problemSchema,
    }),
    examples: { usual: { message: 'token_not_valid', data: refusalExample() } },
  },
  ...events,
  renewed: {
    title: 'Renewed',
    summary: 'The acknowledgement of `renew`.',
    description:
      'With `ok: false` the socket goes on with the token that it has, until that runs out.',
    schema: renewalResultSchema,
    examples: {
      usual: { ok: true, expires_at: '2026-11-22T08:45:00.000Z' },
      refused: { ok: false, code: 'token_not_valid' },
    },
  },
}

/** What a client without a library of Socket.IO's puts in the URL. */
const HANDSHAKE_QUERY = {
  type: 'object',
  properties: { EIO: { const: '4' }, transport: { const: 'websocket' } },
  required: ['EIO', 'transport'],
}

/** Without a public URL the server is where this document came from. */
function serverAt(publicUrl: string | undefined): object {
  const { host, protocol } = new URL(publicUrl ?? 'http://localhost:3000')
  return {
    host: publicUrl ? host : '{host}',
    ...(!publicUrl && {
      variables: { host: { default: host, description: 'Where this document came from.' } },
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
  return new Problem('token_not_valid', 'The token has expired.').body()
}

/** Draft 07 is AsyncAPI's own. Formats say what zod's long patterns spell out. */
function jsonSchema(schema: z.ZodType): object {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    target: 'draft-7',
    override({ jsonSchema }) {
      if (jsonSchema.format) delete jsonSchema.pattern
    },
  })
  return json
}
