import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import {
  bucketOf,
  type Checkpoint,
  Digest,
  digestResponseSchema,
  pullResponseSchema,
  type Resource,
  resources,
  type WireDocument,
} from '../../../protocol/index.ts'
import { test } from '../../support/fixtures.ts'
import { type Person, startServer } from '../../support/server.ts'

const { tasks } = resources

/** A pull from the start leaves them out. */
const WITH_TOMBSTONES: Checkpoint = { id: '1', lwt: 0 }

describe('a client that compares', () => {
  test('what it has pulled of any resource is told that it is equal', async ({ ann }) => {
    await someOfEach(ann)
    for (const resource of Object.values<Resource>(resources)) {
      const copy = await pulled(ann, resource)
      expect(copy.documents.length, resource.name).toBeGreaterThan(0)
      expect(await compared(ann, copy), resource.name).toEqual({ result: 'equal' })
    }
  })

  test('does not count tombstones', async ({ ann }) => {
    await someOfEach(ann)
    const copy = await pulled(ann, tasks, '', 100, WITH_TOMBSTONES)
    const live = copy.documents.filter(({ _deleted }) => !_deleted)
    expect(live.length).toBe(copy.documents.length - 1)
    expect(await compared(ann, { ...copy, documents: live })).toEqual({ result: 'equal' })
  })

  test('with one field wrong gets the digests of all buckets, one of which differs', async ({
    ann,
  }) => {
    await someOfEach(ann)
    const copy = await pulled(ann)
    const first = copy.documents.find(({ _deleted }) => !_deleted)!
    const wrong = copy.documents.map((one) => (one === first ? { ...one, title: 'Fery' } : one))
    const { result, buckets } = await compared(ann, { ...copy, documents: wrong })
    expect(result).toBe('different')
    expect(differing(buckets!, digestOf(wrong).buckets)).toEqual([bucketOf(first.id)])
    expect(buckets).toEqual(digestOf(copy.documents).buckets)
  })

  test('many pages of documents gets one result', async ({ ann }) => {
    const rows = Array.from({ length: 620 }, (_, i) => ({
      newDocumentState: { id: randomUUID(), title: `Task ${i}`, _deleted: false },
    }))
    await ann.call('POST', '/replication/tasks/0/push', rows)
    const copy = await pulled(ann)
    expect(copy.documents).toHaveLength(620)
    expect(await compared(ann, copy)).toEqual({ result: 'equal' })
  })

  test('is behind once the resource has changed after its checkpoint, and only then', async ({
    ann,
  }) => {
    await someOfEach(ann)
    const copy = await pulled(ann)
    await ann.call('POST', '/api/categories/', { name: 'Errands' })
    expect(await compared(ann, copy)).toEqual({ result: 'equal' })
    await ann.call('POST', '/api/tasks/', { title: 'Night train' })
    expect(await compared(ann, copy)).toEqual({ result: 'behind' })
  })

  test('with another revision cannot compare', async ({ ann }) => {
    await someOfEach(ann)
    const copy = await pulled(ann)
    expect(await compared(ann, copy, '&revision=7')).toEqual({ result: 'incomparable' })
    expect(await compared(ann, copy, `&revision=${tasks.revision}`)).toEqual({ result: 'equal' })
  })

  test('from an expired checkpoint is told so', async ({ ann }) => {
    for (const checkpoint of ['id=2&lwt=1', 'id=1&lwt=1000'])
      expect(await ann.call('GET', `/replication/tasks/0/digest?${checkpoint}`)).toMatchObject({
        status: 410,
        body: { code: 'checkpoint_expired' },
      })
    const path = '/replication/tasks/0/digest?id=1&lwt=1'
    const replica = { 'Tasktide-Replica': JSON.stringify({ seen: [{ id: '2', lwt: 1 }] }) }
    expect((await ann.call('GET', path, undefined, { headers: replica })).status).toBe(410)
  })

  test('sees only its own documents', async ({ ann, bob }) => {
    await someOfEach(ann)
    const copy = await pulled(bob)
    expect(copy.documents).toEqual([])
    expect(await compared(bob, copy)).toEqual({ result: 'equal' })
  })

  test.for(['digest=12', 'digest=ABCDEF0123456789', 'revision=x', 'buckets=1'])(
    'is refused with %s',
    async (query, { ann }) => {
      expect((await ann.call('GET', `/replication/tasks/0/digest?${query}`)).status).toBe(400)
    },
  )

  test('too often is refused, whatever the others do', async () => {
    const server = await startServer({ AUTH_RATE_LIMIT: '3' })
    try {
      const [ann, bob] = [await server.person(), await server.person()]
      const path = '/replication/tasks/0/digest'
      const statuses = []
      for (let i = 0; i < 4; i++) statuses.push((await ann.call('GET', path)).status)
      expect(statuses).toEqual([200, 200, 200, 429])
      expect((await bob.call('GET', path)).status).toBe(200)
    } finally {
      await server.stop()
    }
  })

  test('is counted by resource and result', async ({ server, ann }) => {
    const counted = async (result: string) => {
      const { text } = await server.call('GET', '/metrics')
      const line = `tasktide_self_checks_total{resource="tasks",result="${result}"} `
      return Number(text.split(line)[1]?.split('\n')[0] ?? 0)
    }
    const before = [await counted('equal'), await counted('different')]
    const copy = await pulled(ann)
    await compared(ann, copy)
    await ann.call('GET', '/replication/tasks/0/digest?digest=00000000000000ff')
    expect([await counted('equal'), await counted('different')]).toEqual(before.map((n) => n + 1))
  })
})

describe('a pull of buckets', () => {
  test('returns the documents in them, tombstones included, page by page', async ({ ann }) => {
    for (let i = 0; i < 12; i++) await ann.call('POST', '/api/tasks/', { title: `Task ${i}` })
    const [{ id }] = (await pulled(ann)).documents as [WireDocument]
    await ann.call('DELETE', `/api/tasks/${id}/`)
    const { documents } = await pulled(ann, tasks, '', 100, WITH_TOMBSTONES)
    const buckets = [...new Set(documents.slice(-6).map((one) => bucketOf(one.id)))]
    const expected = documents.filter((one) => buckets.includes(bucketOf(one.id)))
    expect(expected.some(({ _deleted }) => _deleted)).toBe(true)
    const filter = `&buckets=${buckets.join(',')}`
    expect((await pulled(ann, tasks, filter)).documents).toEqual(expected)
    expect((await pulled(ann, tasks, filter, 2)).documents).toEqual(expected)
  })

  test('expires like any other', async ({ ann }) => {
    const path = '/replication/tasks/0/pull?buckets=7'
    expect((await ann.call('GET', `${path}&id=2&lwt=1`)).status).toBe(410)
    expect((await ann.call('GET', path)).body.documents).toEqual([])
  })

  test.for(['', 'x', '256', '-1', '1.5', '1,,2', '1,'.repeat(600)])(
    'is refused with %j',
    async (buckets, { ann }) => {
      const reply = await ann.call('GET', `/replication/tasks/0/pull?buckets=${buckets}`)
      expect([reply.status, Object.keys(reply.body.errors ?? {})]).toEqual([400, ['buckets']])
    },
  )
})

interface Copy {
  documents: WireDocument[]
  checkpoint: Checkpoint
  resource: Resource
}

async function pulled(
  person: Person,
  resource: Resource = tasks,
  filter = '',
  limit = 100,
  from: Checkpoint = { id: '', lwt: 0 },
): Promise<Copy> {
  const documents: WireDocument[] = []
  for (let checkpoint = from; ; ) {
    const at = `id=${checkpoint.id}&lwt=${checkpoint.lwt}`
    const path = `/replication/${resource.name}/${resource.version}/pull?${at}&limit=${limit}`
    const page = pullResponseSchema.parse((await person.call('GET', path + filter)).body)
    documents.push(...(page.documents as WireDocument[]))
    checkpoint = page.checkpoint
    if (page.documents.length < limit) return { documents, checkpoint, resource }
  }
}

async function compared(person: Person, { documents, checkpoint, resource }: Copy, more = '') {
  const { total } = digestOf(documents, resource)
  const path = `/replication/${resource.name}/${resource.version}/digest`
  const query = `id=${checkpoint.id}&lwt=${checkpoint.lwt}&digest=${total}${more}`
  return digestResponseSchema.parse((await person.call('GET', `${path}?${query}`)).body)
}

function digestOf(documents: readonly WireDocument[], resource: Resource = tasks): Digest {
  const digest = new Digest(resource)
  for (const document of documents) if (!document._deleted) digest.add(document)
  return digest
}

const differing = (a: readonly string[], b: readonly string[]) =>
  [...a.keys()].filter((bucket) => a[bucket] !== b[bucket])

/** Documents of every resource, with every kind of value, an entry of the journal and a tombstone. */
async function someOfEach(person: Person): Promise<void> {
  const { body: category } = await person.call('POST', '/api/categories/', { name: 'Ünïcode ⛴' })
  await person.call('PATCH', '/api/profile/', { bio: 'Sails\n"often"' })
  const { body: task } = await person.call('POST', '/api/tasks/', {
    title: 'Ferry',
    category_id: category.id,
    due_date: '2026-12-01',
    due_time: '08:30',
    remind_at: '2026-11-22T08:30:00+02:00',
    completed: true,
  })
  const { body: gone } = await person.call('POST', '/api/tasks/', { title: 'Train' })
  await person.call('DELETE', `/api/tasks/${gone.id}/`)
  const rival = { ...task, _deleted: false, title: 'Boat', updated_at: task.created_at }
  await person.call('POST', '/replication/tasks/0/push', [{ newDocumentState: rival }])
}
