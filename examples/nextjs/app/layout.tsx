import type { Metadata } from 'next'
import type { ReactNode } from 'react'
import { Client } from './client'

export const metadata: Metadata = { title: 'Tasks' }

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <Client>{children}</Client>
      </body>
    </html>
  )
}
