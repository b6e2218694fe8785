import { type Resource, settle } from '../../protocol/index.ts'

/** Documents for the API's description, made by the rules that real ones are made by. */

const EXAMPLE_ID = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'
const EXAMPLE_TIME = '2026-11-22T08:30:00.000Z'

export function exampleDocument(resource: Resource): object {
  const given = { ...resource.example, id: EXAMPLE_ID }
  // Parsed, so that its fields stand in the order of real answers.
  return resource.document.parse(settle(resource, given, undefined, EXAMPLE_TIME))
}

export function listExample(resource: Resource): object {
  return { count: 1, next: null, previous: null, results: [exampleDocument(resource)] }
}
