import * as z from 'zod'
import {
  accounts,
  id,
  Problem,
  type Resource,
  resources,
  type WireDocument,
} from '../../../protocol/index.ts'
import type { Sessions } from '../../accounts/sessions.ts'
import type { Lists } from '../../store/lists.ts'
import { FIRST_EPOCH, horizonOf } from '../../sync/cursors.ts'
import { type Positions, REACHED, reachedBy } from '../../sync/positions.ts'
import { type Feed, type Store, UnknownUser } from '../../sync/store.ts'
import { exampleDocument } from '../examples.ts'
import { type Operation, operation } from '../operation.ts'

interface Dependencies {
  store: Pick<Store, 'read' | 'heads'>
  lists: Pick<Lists, 'page'>
  sessions: Pick<Sessions, 'list'>
  positions: Pick<Positions, 'of'>
}

const DOCUMENT_ID = id()
const MAX_CONFLICTS = 20
const conflicts: Resource = resources.conflicts

/** Why a document may be unknown. */
const CAUSES = {
  not_received: 'it never reached the server',
  purged: 'it was deleted, and its tombstone was purged',
  lost: 'it was lost when the database went back to an older point',
}
type Cause = keyof typeof CAUSES

const cause = z.enum(Object.keys(CAUSES) as [Cause, ...Cause[]])
const deviceOfDocument = z.strictObject({
  ...accounts.signedInDevice.shape,
  document: z
    .enum(REACHED)
    .describe(
      'Its last change: `stored` on the device, because the device has asked for what follows; `sent` to it; `not_sent`; `unknown` if it never pulled, or the document is unknown.',
    ),
  pulled_at: z.iso
    .datetime()
    .nullable()
    .describe('When the device last pulled documents of this resource.'),
})

const explanation = z.strictObject({
  state: z
    .enum(['stored', 'deleted', 'unknown'])
    .describe('Of the document on the server: `unknown` if it is not stored.'),
  possible_causes: z
    .array(cause)
    .describe(
      'Why an unknown document may be missing: the server never received it (`not_received`), it was deleted and its tombstone is `purged`, or it was `lost` when the database went back to an older point. Empty for others.',
    ),
  seq: z.int().nullable().describe('The number of its last change in the feed.'),
  updated_at: z.iso.datetime().nullable(),
  devices: z
    .array(deviceOfDocument)
    .describe(
      'Your sessions, the most recently used first. What other nodes know may lack a minute.',
    ),
  conflicts: z
    .array(conflicts.document)
    .describe(
      `The latest entries of the conflict journal about it, ${MAX_CONFLICTS} at most: lost values, and rejected ones of clients that do not keep these themselves.`,
    ),
})

const PARTS = {
  ExplainedState: explanation.shape.state,
  UnknownCause: cause,
  ExplainedDevice: deviceOfDocument,
  DeviceState: deviceOfDocument.shape.document,
}

/** Where a document is: for the support of an app, and for its developers. */
export function explainOperation(
  resource: Resource,
  { store, lists, sessions, positions }: Dependencies,
): Operation {
  const { name, singular } = resource
  return operation({
    id: `explain_${singular}`,
    tag: name,
    access: 'bearer',
    // It names devices, and values of other resources that the journal has.
    scopes: ['tasks:read', 'profile', 'account'],
    method: 'get',
    path: `/api/explain/${name}/{id}/`,
    summary: `Explain where a ${singular} is`,
    description:
      'Whether it is stored or deleted, which of your devices have its last change, and what became of edits that lost. An id that is not stored is a 404 that names the possible causes, unless the conflict journal has entries about it. Edits that were never sent, or that the SDK keeps as rejected, are only on their device.',
    answers: {
      200: {
        description: 'The explanation.',
        name: 'Explanation',
        schema: explanation,
        parts: PARTS,
        example: EXAMPLE,
      },
    },
    problems: ['not_found'],
    async handle({ user, session, params }) {
      const parsed = DOCUMENT_ID.safeParse(params.id)
      if (!parsed.success)
        throw new Problem(
          'not_found',
          `You have no ${singular} with this id; check the id, a UUID.`,
        )
      const feed = (await store.heads([user])).get(user)
      if (!feed) throw new UnknownUser()
      const found = (await store.read(user, resource, [parsed.data])).get(parsed.data)
      const entries = await conflictsAbout(user, parsed.data)
      const causes = found ? [] : causesIn(feed, resource)
      if (!found && entries.length === 0) throw nowhere(resource, causes)
      const devices = await sessions.list(user, session)
      const known = await positions.of(user)
      return {
        status: 200,
        body: {
          state: found ? (found.deleted ? 'deleted' : 'stored') : 'unknown',
          possible_causes: causes,
          seq: found?.seq ?? null,
          updated_at: found?.document.updated_at ?? null,
          devices: devices.map((device) => {
            const parts = known.get(device.id) ?? {}
            return {
              ...device,
              document: found ? reachedBy(parts, feed, name, found.seq) : 'unknown',
              pulled_at: parts[`pulled ${name}`]?.at ?? null,
            }
          }),
          conflicts: entries,
        },
      }
    },
  })

  async function conflictsAbout(user: string, document: string): Promise<WireDocument[]> {
    const filters = [
      { field: 'resource', operator: 'eq', value: name },
      { field: 'document_id', operator: 'eq', value: document },
    ] as const
    const order = [{ field: 'created_at', descending: true }]
    const listing = { filters, words: [], order, deleted: false }
    const { results } = await lists.page(user, conflicts, listing, MAX_CONFLICTS, 0)
    return JSON.parse(results)
  }
}

function causesIn(feed: Feed, resource: Resource): Cause[] {
  const causes: Cause[] = ['not_received']
  if (horizonOf(resource, feed)) causes.push('purged')
  if (feed.epoch !== FIRST_EPOCH) causes.push('lost')
  return causes
}

function nowhere({ singular }: Resource, causes: readonly Cause[]): Problem {
  const texts = causes.map((cause) => CAUSES[cause]).join(', or ')
  return new Problem('not_found', `You have no ${singular} with this id: ${texts}.`)
}

const EXAMPLE = {
  state: 'stored',
  possible_causes: [],
  seq: 12,
  updated_at: '2026-11-22T08:30:00.000Z',
  devices: [
    {
      id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
      user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
      device: 'Firefox on Linux',
      created_at: '2026-11-22T08:30:00.000Z',
      last_seen_at: '2026-11-22T09:12:41.000Z',
      current: true,
      document: 'stored',
      pulled_at: '2026-11-22T09:12:41.000Z',
    },
  ],
  conflicts: [exampleDocument(conflicts)],
}
