import * as z from 'zod'
import { type Resource, rxSchemaOf, wireDocumentOf } from '../../../protocol/index.ts'
import { type Operation, operation } from '../operation.ts'
import { jsonSchema } from './named-schemas.ts'

const answer = z.strictObject({
  name: z.string(),
  version: z.int(),
  revision: z.int(),
  initial: z.looseObject({}).describe('What the fields have that are left out at the creation.'),
  json_schema: z.looseObject({}).describe('Of a replicated document, with `_deleted`.'),
  rxdb_schema: z
    .looseObject({ version: z.int() })
    .describe(
      'Of a collection in RxDB. Its version is 0: number the versions of your app yourself, and add one with a migration when `version` or `revision` rises.',
    ),
})

/** The schemas of each resource, for clients in languages without a generator, and for RxDB. */
export function resourceSchemaOperations(resources: readonly Resource[]): Operation[] {
  return resources.map((resource) => {
    const { name, version, revision, initial } = resource
    const body = {
      name,
      version,
      revision,
      initial,
      json_schema: {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        title: name,
        ...jsonSchema(wireDocumentOf(resource), 'output'),
      },
      rxdb_schema: { ...rxSchemaOf(resource), version: 0 },
    }
    return operation({
      id: `get_schema_of_${name}`,
      tag: 'about',
      access: 'open',
      method: 'get',
      path: `/api/schema/${name}.json`,
      summary: `Get the schemas of ${name}`,
      description: 'As JSON Schema (2020-12), and as a schema for a collection in RxDB.',
      answers: {
        200: {
          description: 'The schemas.',
          name: 'ResourceSchemas',
          schema: answer,
          example: body,
        },
      },
      problems: [],
      handle: async () => ({ status: 200, body }),
    })
  })
}
