import { id, invalid, Problem, type Resource, resources } from '../../../protocol/index.ts'
import { restoreLoss } from '../../sync/journal.ts'
import type { Store } from '../../sync/store.ts'
import { exampleDocument } from '../examples.ts'
import { type Operation, operation } from '../operation.ts'
import { writeEtag } from './etags.ts'

const conflicts: Resource = resources.conflicts
const ENTRY_ID = id()

/** What REST does with the conflict journal, beyond listing and reading it. */
export function conflictOperations({ store, now }: { store: Store; now: () => Date }): Operation[] {
  return [
    operation({
      id: 'restore_conflict',
      tag: conflicts.name,
      access: 'bearer',
      method: 'post',
      path: '/api/conflicts/{id}/restore/',
      summary: 'Put the values that lost back',
      description:
        'Writes them into their document, which is undeleted if need be. What stood there is in this entry or, if it came later, in a new one. A second time changes nothing. Refused values mostly do not fit: then `errors` says why, and the entry stays as it is.',
      answers: {
        200: {
          description: 'The entry, with the time at which it was restored.',
          name: 'Conflict',
          schema: conflicts.document,
          example: exampleDocument(conflicts),
          headers: ['ETag'],
        },
      },
      problems: ['not_found', 'invalid'],
      async handle({ user, session, params }) {
        const parsed = ENTRY_ID.safeParse(params.id)
        const restoral = parsed.success
          ? await restoreLoss(store, { user, session }, parsed.data, now().toISOString())
          : { outcome: 'not_found' as const }
        if (restoral.outcome === 'not_found')
          throw new Problem('not_found', 'You have no conflict with this id.')
        if (restoral.outcome === 'invalid') throw invalid('lost document', restoral.errors)
        const { seq, document } = restoral.entry
        return { status: 200, headers: { ETag: writeEtag(seq) }, body: document }
      },
    }),
  ]
}
