import type { ComponentChildren } from 'preact'
import { Wordmark } from '../frame/wordmark.tsx'

/** What stands alone on the page: signing in, and what a link in a mail leads to. */
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
