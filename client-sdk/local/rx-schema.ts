import type { RxJsonSchema } from 'rxdb'
import { rxSchemaOf } from '../../protocol/rx-schema.ts'
import type { Definition } from './resources.ts'

/** The RxDB schema of a resource, with the type of its documents. */
export const rxSchema = <Doc>(resource: Definition) =>
  rxSchemaOf(resource) as unknown as RxJsonSchema<Doc>
