import { useEffect, useMemo, useState } from 'preact/hooks'
import type { Category, TaskDocument, User } from '../../client-sdk/index.ts'
import { useTasks } from '../../client-sdk/react.ts'
import { useAccountDetails } from './account-details.ts'
import { AccountMenu } from './account-menu.tsx'
import { AccountPage } from './account-page.tsx'
import { useClient } from './client-context.ts'
import { ConfirmationBanner } from './confirmation-banner.tsx'
import { useToday } from './days.ts'
import { Navigation } from './navigation.tsx'
import { Notices } from './notices.tsx'
import { useObserved } from './observed.ts'
import { OfflineSwitch } from './offline-switch.tsx'
import { SessionBanner } from './session-banner.tsx'
import { FirstSync, SyncChip } from './sync-chip.tsx'
import { TaskPane } from './task-pane.tsx'
import { type Undoable, UndoToast } from './undo-toast.tsx'
import { useViewId, type View, type ViewId, viewsOf } from './views.ts'
import { Wordmark } from './wordmark.tsx'

/** Everything that somebody who is signed in sees. */
export function Workspace({ user }: { user: User }) {
  const client = useClient()
  const tasks = useTasks(client)
  const categories = useObserved<readonly Category[]>(
    () => client.categories.find({ sort: [{ position: 'asc' }] }).$,
    [],
    [client],
  )
  const today = useToday()
  const [viewId, go] = useViewId()
  const [done, setDone] = useState<Undoable | null>(null)
  const views = useMemo(() => viewsOf(categories, today), [categories, today])
  const isAccount = viewId === 'account'
  const view = views.find(({ id }) => id === viewId) ?? views[0]!
  const account = useAccountDetails()
  const counts = useMemo(() => countsOf(views, tasks), [views, tasks])
  useShortcuts()

  return (
    <div class="workspace">
      <header class="top">
        <Wordmark />
        <div class="state">
          <SyncChip />
          <OfflineSwitch />
          <AccountMenu user={user} />
        </div>
      </header>
      <Navigation views={views} current={isAccount ? null : view.id} counts={counts} onGo={go} />
      <main>
        <SessionBanner user={user} />
        <FirstSync />
        <Notices tasks={tasks} categories={categories} />
        {isAccount ? (
          <AccountPage user={user} account={account} />
        ) : (
          <>
            <ConfirmationBanner details={account.details} />
            <TaskPane
              key={view.id}
              view={view}
              tasks={tasks}
              categories={categories}
              today={today}
              onDone={setDone}
            />
          </>
        )}
      </main>
      <UndoToast done={done} onGone={() => setDone(null)} />
    </div>
  )
}

/** How many tasks are to do in each view. */
function countsOf(views: readonly View[], tasks: readonly TaskDocument[]): Map<ViewId, number> {
  const open = tasks.filter(({ completed }) => !completed)
  return new Map(
    views.map(({ id, holds }) => [id, open.filter((task) => holds(task, false)).length]),
  )
}

/** `n` for a new task, `/` to search; while nothing is being written. */
function useShortcuts() {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const { key, target, ctrlKey, metaKey, altKey } = event
      const isBusy = (target as HTMLElement).closest(
        'input:not([type=checkbox]), textarea, select, dialog',
      )
      if (isBusy || ctrlKey || metaKey || altKey) return
      const id = { n: 'new-task', '/': 'search' }[key]
      const field = id && document.getElementById(id)
      if (!field) return
      event.preventDefault()
      field.focus()
    }
    addEventListener('keydown', press)
    return () => removeEventListener('keydown', press)
  }, [])
}
