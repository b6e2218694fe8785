import type { RequestHandler } from 'express'
import * as z from 'zod'
import { Problem, type Resource } from '../../../protocol/index.ts'
import { type Operation, operation } from '../operation.ts'
import { shortened } from '../problems.ts'

const INDEX = '/replication/'

const index = z.strictObject({
  results: z.array(
    z.strictObject({
      name: z.string(),
      version: z.int().describe('It is in the paths. A client of a lower version gets a 426.'),
      revision: z.int().describe('Rises with changes that clients of the same version survive.'),
      read_only: z.boolean().describe('Whether only the server writes it.'),
      url: z.string().describe('To be followed by `/pull`, `/push`, `/pullStream` or `/digest`.'),
      schema: z.string().describe('The path of its schemas.'),
    }),
  ),
})

/** Where clients find what there is to replicate. */
export function replicationIndexOperation(resources: readonly Resource[]): Operation {
  const results = resources.map(({ name, version, revision, readOnly }) => ({
    name,
    version,
    revision,
    read_only: readOnly,
    url: `${INDEX}${name}/${version}`,
    schema: `/api/schema/${name}.json`,
  }))
  return operation({
    id: 'list_replicated_resources',
    tag: 'about',
    access: 'open',
    method: 'get',
    path: INDEX,
    summary: 'List replicated resources',
    description: 'Every resource that a device can copy, with its version and its schemas.',
    answers: {
      200: {
        description: 'The resources.',
        name: 'ReplicatedResources',
        schema: index,
        example: { results: results.slice(0, 1) },
      },
    },
    problems: [],
    handle: async () => ({ status: 200, body: { results } }),
  })
}

/**
 * Rejects every request for another version of a resource than the current one, authenticated or not, and says
 * what is wrong with the path.
 */
export function refuseOtherVersions(resources: readonly Resource[]): RequestHandler {
  const versions = new Map(resources.map(({ name, version }) => [name, version]))
  return (req) => {
    const [, name = '', version = '', action = ''] = req.path.split('/')
    const current = versions.get(name)
    if (current === undefined)
      throw new Problem(
        'not_found',
        `There is no resource ${shortened(name)}. GET ${INDEX} lists the names and versions.`,
      )
    if (/^\d{1,9}$/.test(version) && Number(version) < current)
      throw new Problem(
        'outdated_client',
        `This version of ${name} is no longer supported; the current one is ${current}. Update the app.`,
      )
    if (version !== String(current))
      throw new Problem(
        'not_found',
        `This server has version ${current} of ${name}, not ${shortened(version) || 'none'}: use ${INDEX}${name}/${current}/… If the app is newer, try again once the server is updated.`,
      )
    throw new Problem(
      'not_found',
      `There is no ${INDEX}${name}/${current}/${shortened(action)}: use pull, push, pullStream or digest.`,
    )
  }
}
