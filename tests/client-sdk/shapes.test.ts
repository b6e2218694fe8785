import { expect, test } from 'vitest'
import { shapes } from '../../client-sdk/local/shapes.ts'
import { isShaped } from '../../client-sdk/runtime/answers.ts'

const STAMPS = { created_at: '2026-11-22T08:29:00.000Z', updated_at: '2026-11-22T08:29:00.000Z' }
const PULLED = {
  documents: [{ id: 'x', ...STAMPS, _deleted: false }],
  checkpoint: { id: '1', lwt: 12 },
}
const PUSHED = {
  conflicts: [{ id: 'x', _deleted: true }],
  rejected: [{ id: 'x', code: 'invalid', errors: {} }],
}

test.each<[keyof typeof shapes, object, boolean]>([
  ['pull', PULLED, true],
  ['pull', { ...PULLED, documents: [] }, true],
  ['pull', { ...PULLED, more: true }, true],
  ['pull', { ...PULLED, documents: [{ ...PULLED.documents[0], title: 1 }] }, true],
  ['pull', { documents: [] }, false],
  ['pull', { ...PULLED, checkpoint: { id: '1' } }, false],
  ['pull', { ...PULLED, checkpoint: { id: '1', lwt: '12' } }, false],
  ['pull', { ...PULLED, documents: {} }, false],
  ['pull', { ...PULLED, documents: [null] }, false],
  ['pull', { ...PULLED, documents: [{ id: 'x', _deleted: false }] }, false],
  ['pull', [], false],
  ['push', PUSHED, true],
  ['push', { conflicts: [], rejected: [] }, true],
  ['push', [], false],
  ['push', { ...PUSHED, conflicts: [{ id: 'x' }] }, false],
  ['push', { ...PUSHED, rejected: [{ id: 'x', code: 'invalid', errors: [] }] }, false],
  ['push', { ...PUSHED, rejected: [{ id: 'x', errors: {} }] }, false],
])('whether it has the shape of an answer to a %s: %j', (name, body, isOne) => {
  expect(isShaped(shapes[name])(body)).toBe(isOne)
})
