import type { Client } from '@tasktide/client'
import { createContext } from 'preact'
import { useContext } from 'preact/hooks'

export const ClientContext = createContext<Client | null>(null)

/**
 * The client without its documents: components read them through `documents.ts` and write them through
 * `edits.tsx`, so that no failed write goes unnoticed. The compiler rejects any other way.
 */
export const useClient = (): Pick<Client, 'session' | 'account'> & {
  sync: Pick<Client['sync'], 'awaitInSync'>
} => useContext(ClientContext)!
