import { id, invalid, Problem, type Resource, resources } from '../../../protocol/index.ts'
import { restoreLoss } from '../../sync/journal.ts'
import type { Store } from '../../sync/store.ts'
import { exampleDocument } from '../examples.ts'
import { repeatable } from '../idempotency.ts'
import { type Operation, operation } from '../operation.ts'
import { scopesOf } from '../scopes.ts'
import { writeEtag } from './etags.ts'
import { quotaExceeded } from './rest.ts'

const conflicts: Resource = resources.conflicts
const ENTRY_ID = id()

/** The operations on the conflict journal besides list and get. */
export function conflictOperations({ store, now }: { store: Store; now: () => Date }): Operation[] {
  return [
    repeatable({ store, now })(
      operation({
        id: 'restore_conflict',
        tag: conflicts.name,
        access: 'bearer',
        scopes: scopesOf(conflicts, 'write'),
        method: 'post',
        path: '/api/conflicts/{id}/restore/',
        writes: true,
        summary: 'Restore a conflict',
        description:
          'Writes the lost values into their document, and restores the document if it is deleted. The replaced values are in this entry, or in a new one if they are newer. A second call changes nothing. If the values are not valid, as rejected values usually are, the response is 400 with `errors`, and the entry does not change.',
        answers: {
          200: {
            description: 'The entry, with `restored_at`.',
            name: 'Conflict',
            schema: conflicts.document,
            example: exampleDocument(conflicts),
            headers: ['ETag'],
          },
        },
        problems: ['not_found', 'invalid', 'quota_exceeded'],
        async handle({ user, session, params, within = store }) {
          const parsed = ENTRY_ID.safeParse(params.id)
          const restoral = parsed.success
            ? await restoreLoss(within, { user, session }, parsed.data, now().toISOString())
            : { outcome: 'not_found' as const }
          if (restoral.outcome === 'not_found')
            throw new Problem(
              'not_found',
              'You have no conflict with this id; list your conflicts for the ids.',
            )
          if (restoral.outcome === 'quota_exceeded') throw quotaExceeded(restoral.errors)
          if (restoral.outcome === 'invalid') throw invalid('lost document', restoral.errors)
          const { seq, document } = restoral.entry
          return { status: 200, headers: { ETag: writeEtag(seq) }, body: document }
        },
      }),
    ),
  ]
}
