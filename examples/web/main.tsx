import { render } from 'preact'
import { dexieStorage } from '../../client-sdk/dexie.ts'
import { createClient } from '../../client-sdk/index.ts'
import { ClientContext } from './client-context.ts'
import { SignIn } from './sign-in.tsx'
import { Workspace } from './workspace.tsx'
import './styles/app.css'

const root = document.getElementById('app')!

try {
  const client = await createClient({ url: location.origin, storage: dexieStorage() })
  client.session.user$.subscribe((user) => {
    render(
      <ClientContext.Provider value={client}>
        {user ? <Workspace key={user.id} user={user} /> : <SignIn />}
      </ClientContext.Provider>,
      root,
    )
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
