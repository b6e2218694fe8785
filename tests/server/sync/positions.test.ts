import { expect, test } from 'vitest'
import type { Frame } from '../../../protocol/index.ts'
import {
  followingFrames,
  type Known,
  type Part,
  type Reached,
  reachedBy,
} from '../../../server/sync/positions.ts'

const part = (after: number, seq: number, epoch = 'b') => ({ epoch, after, seq, at: '' })
/** Epoch `a` ended at 10. */
const feed = { epoch: 'b', seq: 30, branches: { a: 10 }, horizons: {} }

test.each<[string, Known, number, Reached]>([
  ['nothing is known', {}, 5, 'unknown'],
  ['it has asked for what follows', { 'stored tasks': part(0, 5) }, 5, 'stored'],
  ['it has asked for what is before', { 'stored tasks': part(0, 4) }, 5, 'not_sent'],
  ['it has asked for others', { 'stored categories': part(0, 9) }, 5, 'not_sent'],
  ['it pulled it', { 'stored tasks': part(0, 4), 'pulled tasks': part(4, 9) }, 5, 'sent'],
  ['it pulled what follows', { 'pulled tasks': part(5, 9) }, 5, 'not_sent'],
  ['a stream sent it', { 'streamed tasks': part(4, 5) }, 5, 'sent'],
  ['a stream of others sent it', { 'streamed categories': part(4, 5) }, 5, 'not_sent'],
  ['a socket sent it', { live: part(4, 5) }, 5, 'sent'],
  ['a socket sent what follows', { live: part(5, 6) }, 5, 'not_sent'],
  ['that was before the feed went back', { 'stored tasks': part(0, 20, 'a') }, 10, 'stored'],
  ['what it has was lost', { 'stored tasks': part(0, 20, 'a') }, 11, 'not_sent'],
  ['it has an epoch that never was', { live: part(0, 20, 'c') }, 5, 'not_sent'],
])('of a device, when %s', (_, known, seq, reached) => {
  expect(reachedBy(known, feed, 'tasks', seq)).toBe(reached)
})

test('consecutive frames are one part, until one is without documents or missing', () => {
  const noted: Part[] = []
  const send = followingFrames((one) => noted.push(one))
  const frame = (prev: number, seq: number, documents = {}): Frame => ({
    prev,
    seq,
    checkpoint: { id: 'b', lwt: seq },
    documents,
  })
  send(frame(4, 5))
  send(frame(5, 8))
  const { documents: _, ...empty } = frame(8, 90)
  send(empty)
  send(frame(90, 91))
  expect(noted).toEqual([
    { epoch: 'b', after: 4, seq: 5 },
    { epoch: 'b', after: 4, seq: 8 },
    { epoch: 'b', after: 90, seq: 91 },
  ])
})
