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
// Before anything else: its token is to be in the address no longer than it must.
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
    // A start with nobody may follow a session that was lost with the site's data: no sign-out.
    if (user || next) removeDraftsOfOthers(next?.id ?? null)
    user = next
    // Whoever comes next begins with the tasks.
    if (!user && location.hash === '#account') history.replaceState(null, '', location.pathname)
    draw()
  })
  // A link that is opened in a tab that is there already.
  addEventListener('hashchange', () => {
    const next = takeMailLink()
    if (next) go(next)
  })
} catch (error) {
  console.error(error)
  render(
    <p role="alert" class="fatal">
      Tasktide keeps your tasks in this browser, and the browser does not let it. A private window
      may be the reason.
    </p>,
    root,
  )
}

// Without it the app works, but does not open offline.
navigator.serviceWorker?.register('/sw.js').catch(() => {})
