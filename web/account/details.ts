import type { AccountDetails } from '@tasktide/client'
import { useEffect, useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { useSyncState } from '../documents/documents.ts'
import { errorMessage } from '../forms/error-message.ts'

export interface KnownAccount {
  /** Undefined until the server has responded. */
  details: AccountDetails | undefined
  /** Why it has not. */
  fault: string
  ask: () => Promise<void>
}

/** What the server knows of the account: asked anew when there is reason to think that it has changed. */
export function useAccountDetails(): KnownAccount {
  const client = useClient()
  const [details, setDetails] = useState<AccountDetails>()
  const [fault, setFault] = useState('')
  const isSynced = useSyncState().status === 'synced'
  const isConfirmed = details?.email_verified_at != null

  async function ask() {
    try {
      setDetails(await client.account.get())
      setFault('')
    } catch (error) {
      setFault(errorMessage(error))
    }
  }

  useEffect(() => {
    // At once, and again when the network is back.
    if (!details) void ask()
  }, [isSynced])
  useEffect(() => {
    const look = () => void ask()
    channel.addEventListener('message', look)
    return () => channel.removeEventListener('message', look)
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
