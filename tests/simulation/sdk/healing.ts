import type { AppTab, SdkDevice } from './device.ts'
import { attempt } from './person.ts'

/** What the people at a device do when everything works again, until their documents agree. */
export function settle(device: SdkDevice): void {
  if (device.tabs.length === 0) device.open()
  for (const tab of device.tabs) settleTab(tab, device.owner)
}

function settleTab(tab: AppTab, owner: string): void {
  const { client, user, state } = tab
  if (!client || tab.isSettling) return
  const isOver = state?.status === 'signed_out'
  if (user && user !== owner && !isOver)
    busy(tab, 'sends what is here of a guest', async () => {
      await client.sync.resume()
      await client.sync.awaitInSync({ timeout: 20_000 })
      for (const row of tab.rejected) await row.discard()
      await client.session.signOut()
    })
  else if (!user || isOver)
    busy(tab, 'signs in again', async () => {
      await client.session.signIn({ username: user ?? owner, password: 'secret' })
    })
  else if (state?.status === 'offline') busy(tab, 'resumes', () => client.sync.resume())
}

function busy(tab: AppTab, what: string, run: () => Promise<void>): void {
  tab.isSettling = true
  attempt(tab, what, () =>
    run().finally(() => {
      tab.isSettling = false
    }),
  )
}
