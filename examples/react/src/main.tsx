import { createClient } from '@tasktide/client'
import { dexieStorage } from '@tasktide/client/dexie'
import { TasktideProvider, useClient, useUser } from '@tasktide/client/react'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { SignIn } from './sign-in'
import { Tasks } from './tasks'

const url = import.meta.env.VITE_TASKTIDE_URL ?? 'http://localhost:3000'
const open = () => createClient({ url, storage: dexieStorage() })

function App() {
  return useUser(useClient()) ? <Tasks /> : <SignIn />
}

createRoot(document.getElementById('app')!).render(
  <StrictMode>
    <TasktideProvider open={open} fallback={<p>Loading…</p>}>
      <App />
    </TasktideProvider>
  </StrictMode>,
)
