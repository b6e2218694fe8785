import type { AppTab, SdkDevice } from './device.ts'
import { occupy } from './person.ts'

/** The actions of the users of a device when the faults are over, until all documents agree. */
export function settleApp(device: SdkDevice): void {
  if (device.watch.hasOrphans) for (const tab of [...device.tabs]) tab.kill()
  if (device.tabs.length === 0) device.open()
  for (const tab of device.tabs) if (!tab.isBusy) settleTab(tab, device.owner)
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
