import { type Resource, settle } from '../../protocol/index.ts'

/** Example documents for OpenAPI, settled like real ones. */

const EXAMPLE_ID = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'
const EXAMPLE_TIME = '2026-11-22T08:30:00.000Z'

export function exampleDocument(resource: Resource): object {
  const given = { ...resource.example, id: EXAMPLE_ID }
  // Parsed, for the field order of real responses.
  return resource.document.parse(settle(resource, given, undefined, EXAMPLE_TIME))
}

export function listExample(resource: Resource): object {
  return { count: 1, next: null, previous: null, results: [exampleDocument(resource)] }
}
