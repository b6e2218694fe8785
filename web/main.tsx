import { createClient, type User } from '@tasktide/client'
import { dexieStorage } from '@tasktide/client/dexie'
import { render } from 'preact'
import { ClientContext } from './documents/client-context.ts'
import { removeDraftsOfOthers } from './drafts/drafts.ts'
import { Workspace } from './frame/workspace.tsx'
import { type MailLink, takeMailLink } from './sign-in/mail-link.ts'
import { MailLinkPage } from './sign-in/mail-link-page.tsx'
import { SignIn } from './sign-in/sign-in.tsx'
import './styles/app.css'

const root = document.getElementById('app')!
// First, to remove the token from the address bar as early as possible.
let link = takeMailLink()
let user: User | null = null

try {
  const client = await createClient({ url: location.origin, storage: dexieStorage() })
  const draw = () =>
    render(
      <ClientContext.Provider value={client}>
        {link ? (
          <MailLinkPage
            key={JSON.stringify(link)}
            link={link}
            user={user}
            onDone={() => go(null)}
          />
        ) : user ? (
          <Workspace key={user.id} user={user} />
        ) : (
          <SignIn />
        )}
      </ClientContext.Provider>,
      root,
    )
  const go = (next: MailLink | null) => {
    link = next
    draw()
  }
  client.session.user$.subscribe((next) => {
    // Starting signed out may mean that the site's data was lost, which is not a sign-out.
    if (user || next) removeDraftsOfOthers(next?.id ?? null)
    user = next
    // The next user starts at the tasks.
    if (!user && location.hash === '#account') history.replaceState(null, '', location.pathname)
    draw()
  })
  // For a link that is opened in an existing tab.
  addEventListener('hashchange', () => {
    const next = takeMailLink()
    if (next) go(next)
  })
} catch (error) {
  console.error(error)
  render(
    <p role="alert" class="fatal">
      This browser does not allow Tasktide to store your tasks. If this is a private window, try a
      normal one.
    </p>,
    root,
  )
}

// Without a service worker the app works, but does not open offline.
navigator.serviceWorker?.register('/sw.js').catch(() => {})
