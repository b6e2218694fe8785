import { useEffect, useState } from 'preact/hooks'
import { type AccountDetails, ClientError } from '../../client-sdk/index.ts'
import { useSyncStatus } from '../../client-sdk/react.ts'
import { useClient } from './client-context.ts'
import { spoken } from './request.ts'

export interface KnownAccount {
  /** Undefined until the server has told. */
  details: AccountDetails | undefined
  /** Why it has not. */
  fault: string
  ask: () => void
}

/** What the server knows of the account: asked anew when there is reason to think that it has changed. */
export function useAccountDetails(): KnownAccount {
  const client = useClient()
  const [details, setDetails] = useState<AccountDetails>()
  const [fault, setFault] = useState('')
  const isSynced = useSyncStatus(client).status === 'synced'
  const isConfirmed = details?.email_verified_at != null

  async function ask() {
    try {
      setDetails(await client.account.get())
      setFault('')
    } catch (error) {
      if (!(error instanceof ClientError)) throw error
      setFault(spoken(error))
    }
  }

  useEffect(() => {
    // At once, and again when the network is back.
    if (!details) void ask()
  }, [isSynced])
  useEffect(() => {
    channel.addEventListener('message', ask)
    return () => channel.removeEventListener('message', ask)
  }, [])
  useEffect(() => {
    // Whoever comes back may have confirmed the address on another device.
    const look = () => void (document.visibilityState === 'visible' && ask())
    if (!isConfirmed) document.addEventListener('visibilitychange', look)
    return () => document.removeEventListener('visibilitychange', look)
  }, [isConfirmed])

  return { details, fault, ask }
}

const channel = new BroadcastChannel('tasktide account')

/** To the other tabs. */
export const tellAccountChanged = () => channel.postMessage(null)
