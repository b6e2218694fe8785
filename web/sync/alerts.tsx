import { useState } from 'preact/hooks'
import { useRejectedEdits, useSyncState } from '../documents/documents.ts'
import { useWriteFault } from '../documents/edits.tsx'
import { shortened, titleOf } from '../documents/field-names.ts'
import { Icon } from '../frame/icon.tsx'
import { openSyncPanel } from './sync-panel.tsx'

/** Alerts at the edge of the window, independent of the scroll position. */
export function Alerts() {
  return (
    <>
      <SyncErrorAlert />
      <RefusedAlert />
      <WriteFaultAlert />
    </>
  )
}

function WriteFaultAlert() {
  const { text, count, dismiss } = useWriteFault()
  if (!text) return null
  return <Alert key={count} text={text} onDismiss={dismiss} />
}

function RefusedAlert() {
  const rejected = useRejectedEdits()
  const [read, setRead] = useState<readonly string[]>([])
  const unread = rejected.filter(({ rejected_at }) => !read.includes(rejected_at))
  if (unread.length === 0) return null
  const [{ document }] = unread as [(typeof unread)[0]]
  const dismiss = () => setRead(rejected.map(({ rejected_at }) => rejected_at))
  return (
    <Alert
      text={
        unread.length === 1
          ? `The server rejected “${shortened(titleOf(document), 40)}”.`
          : `The server rejected ${unread.length} changes.`
      }
      action="Show reason"
      onAct={() => {
        dismiss()
        openSyncPanel()
      }}
      onDismiss={dismiss}
    />
  )
}

function SyncErrorAlert() {
  const { error } = useSyncState()
  const [read, setRead] = useState('')
  if (!error || read === error.message) return null
  return <Alert text={error.message} onDismiss={() => setRead(error.message)} />
}

interface AlertProps {
  text: string
  action?: string
  onAct?: () => void
  onDismiss: () => void
}

function Alert({ text, action, onAct, onDismiss }: AlertProps) {
  return (
    <div role="alert" class="toast is-shown is-alert">
      <span class="text">{text}</span>
      {action && (
        <button type="button" onClick={onAct}>
          {action}
        </button>
      )}
      <button type="button" class="close" aria-label="Dismiss this alert" onClick={onDismiss}>
        <Icon name="close" />
      </button>
    </div>
  )
}
