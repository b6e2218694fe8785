import type { ComponentChildren } from 'preact'
import { Wordmark } from '../frame/wordmark.tsx'

/** The layout of sign-in and mail link pages. */
export function Welcome({ children }: { children: ComponentChildren }) {
  return (
    <main class="welcome">
      <div class="welcome-card">
        <h1>
          <Wordmark />
        </h1>
        {children}
      </div>
    </main>
  )
}
