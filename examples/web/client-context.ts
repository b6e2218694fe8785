import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { Client } from '../../client-sdk/index.ts'

export const ClientContext = createContext<Client | null>(null)

export const useClient = () => useContext(ClientContext)!
