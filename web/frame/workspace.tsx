import type { Task, User } from '@tasktide/client'
import { useEffect, useMemo, useState } from 'preact/hooks'
import { ConfirmationBanner } from '../account/confirmation-banner.tsx'
import { useAccountDetails } from '../account/details.ts'
import { AccountMenu } from '../account/menu.tsx'
import { AccountPage } from '../account/page.tsx'
import { NONE, type RejectedEdit, useAllTasks, useCategories } from '../documents/documents.ts'
import { draftKeyOf, type Editing, Editor, editingOf } from '../documents/editor.tsx'
import { EditsProvider, useWriteFault } from '../documents/edits.tsx'
import { shortened } from '../documents/field-names.ts'
import { DraftsContext, draftsOf } from '../drafts/drafts.ts'
import { UnsavedDrafts } from '../drafts/unsaved-drafts.tsx'
import { SessionBanner } from '../sign-in/session-banner.tsx'
import { Alerts } from '../sync/alerts.tsx'
import { Notices } from '../sync/notices.tsx'
import { OfflineSwitch } from '../sync/offline-switch.tsx'
import { RejectedEditor } from '../sync/rejected-editor.tsx'
import { FirstSync, SyncChip } from '../sync/sync-chip.tsx'
import { SyncPanel } from '../sync/sync-panel.tsx'
import { TaskPane } from '../tasks/task-pane.tsx'
import { type Undoable, UndoToast } from '../tasks/undo-toast.tsx'
import { useViewId, type View, type ViewId, viewsOf } from '../tasks/views.ts'
import { useToday } from '../time/days.ts'
import { Navigation } from './navigation.tsx'
import { Wordmark } from './wordmark.tsx'

/** The app for a signed-in user. */
export function Workspace({ user }: { user: User }) {
  const drafts = useMemo(() => draftsOf(user.id), [user.id])
  return (
    <EditsProvider>
      <DraftsContext.Provider value={drafts}>
        <Rooms user={user} />
      </DraftsContext.Provider>
    </EditsProvider>
  )
}

function Rooms({ user }: { user: User }) {
  const read = useAllTasks()
  const tasks = read ?? NONE
  const categories = useCategories()
  const today = useToday()
  const [viewId, go] = useViewId()
  const [done, setDone] = useState<Undoable | null>(null)
  const { editing, edit, close } = useEditing(user, viewId, setDone)
  const [rejected, setRejected] = useState<RejectedEdit | null>(null)
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
      <SyncPanel onEdit={setRejected} />
      <Navigation
        views={views}
        current={isAccount ? null : view.id}
        counts={counts}
        onGo={go}
        onNewCategory={() => edit({ kind: 'category', category: null })}
      />
      <main>
        <SessionBanner user={user} />
        <FirstSync />
        <UnsavedDrafts
          user={user}
          tasks={tasks}
          categories={categories}
          editing={editing}
          onContinue={edit}
        />
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
              isRead={read !== undefined}
              categories={categories}
              today={today}
              onDone={setDone}
              onEdit={edit}
            />
          </>
        )}
      </main>
      {editing && (
        <Editor
          editing={editing}
          tasks={tasks}
          categories={categories}
          onAdded={(id) => go(`category/${id}`)}
          onDeleted={() => go('all')}
          onClose={close}
        />
      )}
      {rejected && (
        <RejectedEditor edit={rejected} categories={categories} onClose={() => setRejected(null)} />
      )}
      <div class="toasts">
        <Alerts />
        <UndoToast done={done} onGone={() => setDone(null)} />
      </div>
    </div>
  )
}

/** The open dialog. If it is left with unsaved text, a toast offers to continue. */
function useEditing(user: User, viewId: string, offer: (done: Undoable) => void) {
  const [editing, setEditing] = useState<Editing | null>(null)
  const { dismiss } = useWriteFault()

  function edit(next: Editing) {
    dismiss()
    setEditing(next)
  }

  function close() {
    setEditing(null)
    const draft = editing && draftsOf(user.id).read(draftKeyOf(editing))
    if (!draft) return
    const again = editingOf(draft, [], [])!
    offer({
      text: `Kept as a draft: ${shortened(draft.name, 40)}`,
      action: 'Continue',
      run: async () => {
        edit(again)
        return true
      },
    })
  }

  // The back button also closes it.
  useEffect(() => {
    if (editing) close()
  }, [viewId])

  return { editing, edit, close }
}

/** The number of open tasks in each view. */
function countsOf(views: readonly View[], tasks: readonly Readonly<Task>[]): Map<ViewId, number> {
  const open = tasks.filter(({ completed }) => !completed)
  return new Map(
    views.map(({ id, holds }) => [id, open.filter((task) => holds(task, false)).length]),
  )
}

/** `n` for a new task, `/` to search, unless the focus is in a text field. */
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
