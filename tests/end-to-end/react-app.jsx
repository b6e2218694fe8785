import { createClient } from '@tasktide/client'
import { dexieStorage } from '@tasktide/client/dexie'
import {
  TasktideProvider,
  useCategories,
  useClient,
  useConflicts,
  useProfile,
  useRejected,
  useSyncStatus,
  useTasks,
  useUser,
} from '@tasktide/client/react'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'

/** All that has ever been rendered. */
window.seen = []
const see = (text) => {
  window.seen.push(text)
  return text
}

const open = () => createClient({ url: location.origin, storage: dexieStorage() })

function App() {
  const client = useClient()
  const user = useUser(client)
  if (!user) return <SignIn />
  return (
    <main>
      <Tasks />
      <Status user={user} />
    </main>
  )
}

function SignIn() {
  const { session } = useClient()
  const signIn = (form) =>
    session.signIn({ username: form.get('username'), password: form.get('password') })
  return (
    <form action={signIn}>
      <input name="username" aria-label="Username" />
      <input name="password" aria-label="Password" />
      <button type="submit">{see('Sign in')}</button>
    </form>
  )
}

function Tasks() {
  const client = useClient()
  const tasks = useTasks(client)
  if (!tasks) return <p>{see('Reading…')}</p>
  if (tasks.length === 0) return <p>{see('No tasks yet')}</p>
  return (
    <ul>
      {tasks.map(({ id, title }) => (
        <li key={id}>{see(title)}</li>
      ))}
    </ul>
  )
}

function Status({ user }) {
  const client = useClient()
  const { status, pending } = useSyncStatus(client)
  const counts = [useCategories(client), useRejected(client), useConflicts(client)]
  const profile = useProfile(client)
  const lengths = counts.map((found) => found?.length ?? '-').join(' ')
  return (
    <>
      <output aria-label="Sync">{`${status} ${pending}`}</output>
      <output aria-label="Counts">{`${lengths} ${profile?.timezone ?? '-'}`}</output>
      <output aria-label="User">{user.username}</output>
      <form action={(form) => client.tasks.add({ title: form.get('title') })}>
        <input name="title" aria-label="Title" />
        <button type="submit">Add</button>
      </form>
    </>
  )
}

let root
window.mount = () => {
  root = createRoot(document.getElementById('app'))
  root.render(
    <StrictMode>
      <TasktideProvider open={open} fallback={<p>{see('Opening…')}</p>}>
        <App />
      </TasktideProvider>
    </StrictMode>,
  )
}
/** As when a module is replaced. */
window.remount = () => {
  root.unmount()
  window.mount()
}
window.mount()
