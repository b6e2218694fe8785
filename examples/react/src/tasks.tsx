import { useClient, useRejected, useSyncStatus, useTasks } from '@tasktide/client/react'

export function Tasks() {
  const client = useClient()
  const tasks = useTasks(client)
  const { status, pending, last_synced_at } = useSyncStatus(client)
  if (!tasks) return null // they are being read
  return (
    <main>
      <h1>Tasks</h1>
      <form
        action={async (form) => {
          await client.tasks.add({ title: String(form.get('title')) })
        }}
      >
        <input name="title" aria-label="New task" required />
        <button type="submit">Add</button>
      </form>
      {tasks.length === 0 && <p>{last_synced_at ? 'No tasks yet' : 'Downloading your tasks…'}</p>}
      <ul>
        {tasks.map(({ id, title, completed }) => (
          <li key={id}>
            <label>
              <input
                type="checkbox"
                checked={completed}
                onChange={() => client.tasks.complete(id, !completed)}
              />
              {title}
            </label>
            <button type="button" onClick={() => client.tasks.softDelete(id)}>
              Delete
            </button>
          </li>
        ))}
      </ul>
      <Rejected />
      <footer>
        <output>{pending > 0 ? `${status}, ${pending} unsent` : status}</output>
        <button type="button" onClick={() => client.session.signOut({ keepData: true })}>
          Sign out
        </button>
      </footer>
    </main>
  )
}

/** Edits that the server did not accept are never lost: the user decides. */
function Rejected() {
  const rejected = useRejected(useClient()) ?? []
  return rejected.map((edit) => (
    <p key={edit.rejected_at} role="alert">
      {Object.values(edit.errors).flat().join(' ')}
      <button type="button" onClick={() => edit.discard()}>
        Discard
      </button>
    </p>
  ))
}
