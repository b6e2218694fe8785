import { v7 as uuidv7 } from 'uuid'
import * as z from 'zod'
import {
  type Document,
  type FieldErrors,
  id,
  invalid,
  isRestorable,
  Problem,
  type Referring,
  type Resource,
  referencesTo,
  type Unsettled,
} from '../../../protocol/index.ts'
import type { Lists } from '../../store/lists.ts'
import { create, edit, type Outcome } from '../../sync/edit.ts'
import { deleteForGood } from '../../sync/for-good.ts'
import type { Edit, Store, Stored } from '../../sync/store.ts'
import { exampleDocument, listExample } from '../examples.ts'
import { repeatable } from '../idempotency.ts'
import { type Answer, type Call, type Header, type Operation, operation } from '../operation.ts'
import { ProblemWithHeaders } from '../problems.ts'
import { scopesOf } from '../scopes.ts'
import { readEtags, writeEtag } from './etags.ts'
import { answerList } from './list-answer.ts'
import { listParameters } from './list-parameters.ts'
import { boolean } from './url-values.ts'

interface RestDependencies {
  store: Store
  lists: Lists
  now: () => Date
  /** The public URL, for links. Without it, the host of the request is used. */
  publicUrl: string | undefined
}

const ifMatch: Header = {
  name: 'If-Match',
  description: 'Only change the document if it still has this ETag.',
}
const ifNoneMatch: Header = {
  name: 'If-None-Match',
  description: 'Respond 304 without a body if the document still has this ETag.',
}

type Fields = Record<string, unknown>

const DOCUMENT_ID = id()

/** The REST operations of a resource, derived from its definition. */
export function restOperations(resource: Resource, dependencies: RestDependencies): Operation[] {
  const { store, lists, now, publicUrl } = dependencies
  const { name, singular, singleton } = resource
  const collection = `/api/${name}/`
  const one = singleton ? collection : `${collection}{id}/`
  const a = /^[aeiou]/.test(singular) ? 'an' : 'a'
  const listing = listParameters(resource, lists)
  const referring = referencesTo(resource)
  const quotaProblems = singleton ? [] : (['quota_exceeded'] as const)

  const common = { tag: name, access: 'bearer', scopes: scopesOf(resource, 'write') } as const
  const reading = { ...common, scopes: scopesOf(resource, 'read') } as const
  const document = {
    name: titled(singular),
    schema: resource.document as z.ZodType,
    example: exampleDocument(resource),
  }
  const withEtag = { ...document, headers: ['ETag'] as const }

  const listOperation = operation({
    ...reading,
    id: `list_${name}`,
    method: 'get',
    compressed: true,
    path: collection,
    summary: `List ${name}`,
    description: 'A document must match all filters. Unknown parameters are an error.',
    query: listing.parameters,
    headers: [
      {
        name: 'If-None-Match',
        description:
          'Respond 304 without a body if nothing of yours has changed since this ETag. Poll with it: it needs no list.',
      },
    ],
    answers: {
      304: { description: 'Not modified.', headers: ['ETag'] },
      200: {
        description: 'A page.',
        headers: ['ETag'],
        name: `${titled(singular)}List`,
        schema: z.strictObject({
          count: z
            .int()
            .nullable()
            .describe('The number of results on all pages; null with a cursor.'),
          next: z.string().nullable().describe('The URL of the next page.'),
          previous: z.string().nullable().describe('The URL of the previous page.'),
          results: z.array(resource.document),
        }),
        example: listExample(resource),
      },
    },
    problems: ['invalid', 'not_found'],
    handle: (call) =>
      answerList({
        resource,
        store,
        lists,
        now,
        publicUrl,
        call,
        request: listing.read(call.query),
      }),
  })

  const createOperation = operation({
    ...common,
    id: `create_${singular}`,
    writes: true,
    method: 'post',
    path: collection,
    summary: `Create ${a} ${singular}`,
    description:
      'You may choose the id (a UUID, preferably version 7). Creating the same document again responds with 200 and its current state, also if it has been edited since, and changes nothing: so you can retry a request whose response was lost. Another body for the same id is a 409.',
    body: {
      name: `${titled(singular)}Create`,
      schema: resource.create,
      examples: { usual: resource.example },
    },
    answers: {
      200: { description: 'It was created so before. Its current state.', ...withEtag },
      201: { description: 'Created.', ...document, headers: ['ETag', 'Location'] },
    },
    problems: ['invalid', 'conflict', 'quota_exceeded'],
    async handle(call: Call<Fields>) {
      const input = { id: uuidv7(), ...call.body } as Unsettled
      const moment = now().toISOString()
      const isOwnId = call.body.id !== undefined
      const outcome = await create(
        call.within ?? store,
        call.user,
        resource,
        input,
        moment,
        isOwnId,
      )
      const location = { Location: `${publicUrl ?? ''}${collection}${input.id}/` }
      return answerOutcome(resource, outcome, { created: location })
    },
  })

  const getOperation = operation({
    ...reading,
    id: `get_${singular}`,
    method: 'get',
    path: one,
    summary: `Get ${singleton ? 'your' : a} ${singular}`,
    description: `A poller that sends the ETag in If-None-Match gets a 304 until the ${singular} changes.`,
    headers: [ifNoneMatch],
    answers: {
      200: { description: 'The document.', ...withEtag },
      304: { description: 'Not modified.', headers: ['ETag'] },
    },
    problems: ['not_found'],
    async handle(call) {
      const found = await store.find(call.user, resource, target(call))
      if (!found) throw nothingHere(resource)
      const known = readEtags(call.headers, 'if-none-match')
      const headers = { ETag: writeEtag(found.seq) }
      if (known === '*' || known?.includes(found.seq)) return { status: 304, headers }
      return { status: 200, headers, body: found.json }
    },
  })

  const putOperation = operation({
    ...common,
    id: `put_${singular}`,
    writes: true,
    method: 'put',
    path: one,
    summary: `Replace ${singleton ? 'your' : a} ${singular}`,
    description: `Required fields must be present${resource.required.length > 0 ? ` (${resource.required.join(', ')})` : ''}; omitted fields keep their values. You may send back a document as you received it: read-only fields are ignored.`,
    headers: [ifMatch],
    body: {
      name: `${titled(singular)}Put`,
      schema: resource.put,
      examples: { usual: resource.example },
    },
    answers: { 200: { description: 'The updated document.', ...withEtag } },
    problems: ['invalid', 'not_found', 'precondition_failed', ...quotaProblems],
    handle(call: Call<Fields>) {
      const fields = Object.fromEntries(
        resource.writable.flatMap((field) =>
          field in call.body ? [[field, call.body[field]]] : [],
        ),
      )
      const given = call.body.id
      if (given !== undefined && given !== target(call))
        throw new Problem('invalid', 'The id in the body differs from the id in the path.', {
          errors: { id: ['Omit it, or use the id in the path.'] },
        })
      return change(call, 'patch', fields)
    },
  })

  const patchOperation = operation({
    ...common,
    id: `patch_${singular}`,
    writes: true,
    method: 'patch',
    path: one,
    summary: `Update ${singleton ? 'your' : a} ${singular}`,
    description: 'Changes only the given fields.',
    headers: [ifMatch],
    body: {
      name: `${titled(singular)}Patch`,
      schema: resource.patch,
      examples: { usual: firstOf(resource.example) },
    },
    answers: { 200: { description: 'The updated document.', ...withEtag } },
    problems: ['invalid', 'not_found', 'precondition_failed', ...quotaProblems],
    handle: (call: Call<Fields>) => change(call, 'patch', call.body),
  })

  const deleteOperation = operation({
    ...common,
    id: `delete_${singular}`,
    writes: true,
    method: 'delete',
    path: one,
    summary: `Delete ${a} ${singular}`,
    description: `It can be restored, unless it is deleted for good.${afterDeletion(referring)}`,
    query: [
      {
        name: 'for_good',
        description: `Whether to delete its content at once, on the server and on every device, and what the conflict journal has about it. Also for a ${singular} that is deleted already. It cannot be restored. What other devices have typed into it and not sent yet gets into the conflict journal.`,
        schema: boolean(),
        json: { type: 'boolean' },
        // So that `?for_good` is refused, and not taken for a deletion that can be restored.
        mayBeEmpty: true,
      },
    ],
    headers: [ifMatch],
    answers: { 204: { description: 'Deleted.' } },
    problems: ['invalid', 'not_found', 'precondition_failed'],
    handle: (call) => (call.query.for_good ? removeForGood(call) : change(call, 'delete', {})),
  })

  const restoreOperation = operation({
    ...common,
    id: `restore_${singular}`,
    writes: true,
    method: 'post',
    path: `${one}restore/`,
    summary: `Restore a deleted ${singular}`,
    description: 'Does nothing if the document is not deleted.',
    headers: [ifMatch],
    answers: { 200: { description: 'The updated document.', ...withEtag } },
    problems: ['not_found', 'precondition_failed', ...quotaProblems],
    handle: (call) => change(call, 'restore', {}),
  })

  if (resource.readOnly) return [listOperation, getOperation]
  const writing = singleton
    ? [putOperation, patchOperation]
    : [createOperation, putOperation, patchOperation, deleteOperation, restoreOperation]
  return [
    ...(singleton ? [] : [listOperation]),
    getOperation,
    ...writing.map(repeatable(dependencies)),
  ]

  function target({ user, params }: Pick<Call, 'user' | 'params'>): string {
    if (singleton) return user
    const parsed = DOCUMENT_ID.safeParse(params.id)
    if (!parsed.success) throw nothingHere(resource)
    return parsed.data
  }

  async function removeForGood(call: Call): Promise<Answer> {
    const outcome = await deleteForGood(call.within ?? store, call.user, resource, {
      id: target(call),
      ifSeq: versions(call),
      now: now().toISOString(),
    })
    return outcome.outcome === 'deleted' ? { status: 204 } : answerOutcome(resource, outcome)
  }

  function versions({ headers }: Pick<Call, 'headers'>): number[] | undefined {
    const known = readEtags(headers, 'if-match')
    return known === '*' ? undefined : known
  }

  async function change(call: Call<never> | Call<Fields>, action: Edit['action'], fields: Fields) {
    const outcome = await edit(call.within ?? store, call.user, resource, {
      action,
      id: target(call),
      fields,
      ifSeq: versions(call),
      now: now().toISOString(),
    })
    if (action === 'delete' && outcome.outcome === 'edited') return { status: 204 }
    return answerOutcome(resource, outcome)
  }
}

function answerOutcome(
  resource: Resource,
  outcome: Outcome,
  { created }: { created?: Record<string, string> } = {},
): Answer {
  switch (outcome.outcome) {
    case 'created':
    case 'edited': {
      const { seq, json } = outcome.encoded
      const status = outcome.outcome === 'created' ? 201 : 200
      return { status, headers: { ETag: writeEtag(seq), ...created }, body: json }
    }
    case 'unchanged':
      return { status: 200, headers: etagOf(outcome.stored), body: outcome.stored.document }
    case 'not_found':
      throw nothingHere(resource)
    case 'conflict':
      throw outcome.stored.deleted
        ? new Problem(
            'conflict',
            isRestorable(resource, outcome.stored.document)
              ? `A deleted ${resource.singular} has this id; restore it, or use another id.`
              : `The ${resource.singular} with this id was deleted for good; use another id.`,
          )
        : current(
            'conflict',
            `Another ${resource.singular} has this id; update it, or use another id.`,
            outcome.stored,
          )
    case 'precondition_failed':
      throw current(
        'precondition_failed',
        'The document has changed since that version. Merge your change into `current`, and retry with its ETag.',
        outcome.stored,
      )
    case 'quota_exceeded':
      throw quotaExceeded(outcome.errors)
    case 'unknown_reference':
      throw invalid('document', {
        [outcome.field]: ['No document has this id. Create or restore it first, or use null.'],
      })
    case 'cyclic_reference':
      throw invalid('document', {
        [outcome.field]: ['The reference would form a cycle. Use another id.'],
      })
  }
}

function current(
  code: 'conflict' | 'precondition_failed',
  detail: string,
  stored: Stored,
): Problem {
  return new ProblemWithHeaders(etagOf(stored), code, detail, { current: stored.document })
}

const etagOf = ({ seq }: Pick<Stored, 'seq'>) => ({ ETag: writeEtag(seq) })

/** @param errors of `withinQuota` */
export function quotaExceeded(errors: FieldErrors): Problem {
  return new Problem('quota_exceeded', errors['']!.join(' '))
}

function nothingHere({ singular }: Resource): Problem {
  return new Problem('not_found', `You have no ${singular} with this id; check the id, a UUID.`)
}

/** What the deletion of a document does to others, in words. */
function afterDeletion(referring: readonly Referring[]): string {
  const names = (onDelete: Referring['onDelete']) =>
    [
      ...new Set(
        referring.filter((one) => one.onDelete === onDelete).map(({ resource }) => resource.name),
      ),
    ].join(' and ')
  const [cleared, deleted] = [names('clear'), names('cascade')]
  return [
    cleared && ` References from ${cleared} to it are set to null.`,
    deleted && ` Its ${deleted} are deleted and restored with it.`,
  ].join('')
}

const titled = (name: string) => name[0]!.toUpperCase() + name.slice(1)

const firstOf = (example: Document | Fields) =>
  Object.fromEntries(Object.entries(example).slice(0, 1))
