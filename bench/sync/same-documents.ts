import { isDeepStrictEqual } from 'node:util'
import { v7 as uuidv7 } from 'uuid'
import type { PullResponse, WireDocument } from '../../protocol/index.ts'
import { taskOf } from '../tasks.ts'
import type { Endpoint } from './device.ts'
import { bodiesOf, changed, created } from './rows.ts'
import { type Endpoints, type SyncStage, serverNames } from './stage.ts'

/**
 * Makes sure that the servers do the same: ours and bare answer with the same page, to the order of
 * the documents; and what was pushed to each, new and then changed, is what each then has.
 */
export async function expectSameDocuments(stage: SyncStage): Promise<void> {
  const paged = await stage.person('paged', 1_500)
  expectEqual('a page', [await pull(paged.ours, 1_000), await pull(paged.bare, 1_000)])
  expectEqual('what a person has', await documentsOf(paged))

  const newcomer = await stage.newcomer()
  const tasks = Array.from({ length: 200 }, (_, n) => taskOf(uuidv7(), n))
  for (const rows of [created(tasks), changed(tasks)]) {
    const bodies = bodiesOf(rows, 100)
    for (const server of serverNames) await stage.device.push({ ...newcomer[server], bodies })
    const pushed = rows.map(({ newDocumentState }) => newDocumentState as WireDocument)
    expectEqual('what was pushed', [pushed.sort(byId), ...(await documentsOf(newcomer))])
  }
}

function expectEqual(what: string, [first, ...others]: unknown[]): void {
  for (const other of others)
    if (!isDeepStrictEqual(first, other))
      throw new Error(
        `The servers differ on ${what}:\n${[first, other].map((one) => JSON.stringify(one).slice(0, 2_000)).join('\n')}`,
      )
}

const documentsOf = (endpoints: Endpoints) =>
  Promise.all(
    serverNames.map(async (server) => {
      const { documents } = await pull(endpoints[server], 2_000)
      return documents.sort(byId)
    }),
  )

async function pull({ url, access }: Endpoint, limit: number): Promise<PullResponse> {
  const response = await fetch(`${url}/pull?lwt=0&id=&limit=${limit}`, {
    headers: { authorization: `Bearer ${access}` },
  })
  if (response.status !== 200) throw new Error(`${url} answers with ${response.status}`)
  return (await response.json()) as PullResponse
}

const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1)
