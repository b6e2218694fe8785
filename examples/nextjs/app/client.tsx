'use client'

import { createClient } from '@tasktide/client'
import { dexieStorage } from '@tasktide/client/dexie'
import { TasktideProvider } from '@tasktide/client/react'
import type { ReactNode } from 'react'

const url = process.env.NEXT_PUBLIC_TASKTIDE_URL ?? 'http://localhost:3000'

/** The client lives in the browser: it is opened after the page is there, and the server renders the fallback. */
const open = () => createClient({ url, storage: dexieStorage() })

export function Client({ children }: { children: ReactNode }) {
  return (
    <TasktideProvider open={open} fallback={<p>Loading…</p>}>
      {children}
    </TasktideProvider>
  )
}
