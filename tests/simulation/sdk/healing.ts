import type { AppTab, SdkDevice } from './device.ts'
import { attempt, occupy } from './person.ts'
import { placeOf } from './watch.ts'

/** The actions of the users of a device when the faults are over, until all documents agree. */
export function settleApp(device: SdkDevice): void {
  if (device.watch.hasOrphans) for (const tab of [...device.tabs]) tab.kill()
  if (device.tabs.length === 0) device.open()
  for (const tab of device.tabs) if (!tab.isBusy) settleTab(tab, device.owner)
}

/** Silently corrupts a document on a device, possibly before a restart of the app. */
export async function corruptApp(device: SdkDevice): Promise<void> {
  const { owner, disk, tabs, watch, dependencies } = device
  const { timeline, ledger } = dependencies
  const { chance } = timeline
  const live = watch.held(owner, 'tasks').filter(({ deleted }) => !deleted)
  if (live.length === 0) return
  const { id } = chance.one(live).document
  const fields = chance.one([{ title: 'rotten' }, { _deleted: true }, { completed: null }])
  // From here on it differs, although nobody has edited it.
  watch.begins(owner, 'tasks', id)
  timeline.tell(device.name, `has a fault in ${id.slice(0, 4)}: ${JSON.stringify(fields)}`)
  ledger.count('corrupted documents')
  await disk.corrupt(chance.one(tabs), placeOf(owner, 'tasks'), id, fields)
  if (!chance.happens(0.5)) return
  device.kill()
  device.open()
}

/** A device compares its documents with those of the server. */
export function verifyApp(device: SdkDevice): void {
  const tab = device.someTab()
  if (tab?.user) attempt(tab, 'verifies', () => tab.client!.sync.verify({ timeout: 60_000 }))
}

function settleTab(tab: AppTab, owner: string): void {
  const { client, user, state } = tab
  if (!client) return
  const isOver = state?.status === 'signed_out'
  if (!user || isOver)
    occupy(tab, 'signs in again', () =>
      client.session.signIn({ username: user ?? owner, password: 'secret' }),
    )
  else if (user !== owner)
    occupy(tab, 'sends what a guest has here', async () => {
      await client.sync.resume()
      await client.sync.awaitInSync({ timeout: 20_000 })
      for (const row of tab.rejected) await row.discard()
      await client.session.signOut()
    })
  else if (state?.status === 'error') client.sync.wake()
  else if (state?.status === 'offline') occupy(tab, 'resumes', () => client.sync.resume())
}
