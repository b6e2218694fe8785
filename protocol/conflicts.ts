import { choice, instant, nullable, record, text, uuid } from './field.ts'
import { type DocumentOf, defineResource } from './resource.ts'

/** As much as one push may contain. */
const MAX = 20 * 1024 * 1024

/**
 * The conflict journal: values that lost when two devices changed the same field, and rejected values
 * of clients that do not ask for rejections. Only the server writes it. Users read entries and restore
 * them.
 */
export const conflicts = defineResource({
  name: 'conflicts',
  singular: 'conflict',
  version: 0,
  revision: 1,
  readOnly: true,
  fields: {
    resource: text('The resource of the document, such as tasks.', { max: 100 }),
    document_id: uuid('The id of the document.'),
    cause: choice('Why the values were lost: another edit, a deletion, or a rejection.', [
      'edit',
      'deletion',
      'refused',
    ]),
    lost: record('The lost values by field. Rejected values are kept as sent.', { max: MAX }),
    lost_json: nullable(
      text(
        'Rejected values that `lost` cannot hold (unknown fields, lists for plain fields, NUL), as JSON text.',
        {
          max: MAX,
        },
      ),
    ),
    errors: record('Messages about rejected values, by field.', { max: MAX }),
    kept: record('The values that replaced them.', { max: MAX }),
    lost_at: instant('When the losing edit was made.'),
    session_id: nullable(uuid('The session whose push caused the conflict.')),
    restored_at: nullable(instant('When the values were restored.')),
  },
  initial: { lost_json: null, errors: {}, session_id: null, restored_at: null },
  filterable: ['resource', 'document_id', 'cause', 'restored_at', 'created_at'],
  sortable: ['created_at', 'lost_at', 'restored_at'],
  searchable: [],
  ordering: '-created_at',
  example: {
    resource: 'tasks',
    document_id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
    cause: 'edit',
    lost: { title: 'Book the night ferry' },
    kept: { title: 'Book the early ferry' },
    lost_at: '2026-11-22T08:29:00.000Z',
  },
})

export type Conflict = DocumentOf<typeof conflicts>
