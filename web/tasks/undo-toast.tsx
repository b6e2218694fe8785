import { useEffect, useState } from 'preact/hooks'

export interface Undoable {
  /** What was done. */
  text: string
  /** What can be done about it, in a word. */
  action: string
  /** @returns whether it was stored */
  run: () => Promise<boolean>
}

interface UndoToastProps {
  done: Undoable | null
  onGone: () => void
}

const STAYS_MS = 10_000

/** Says what was done, and what can be done about it. It stays while it is pointed at or has the focus. */
export function UndoToast({ done, onGone }: UndoToastProps) {
  const [isHeld, setIsHeld] = useState(false)
  useEffect(() => {
    if (!done || isHeld) return
    const timer = setTimeout(onGone, STAYS_MS)
    return () => clearTimeout(timer)
  }, [done, isHeld])

  async function act({ run }: Undoable) {
    if (!(await run())) return
    setIsHeld(false)
    onGone()
  }

  return (
    <div
      role="status"
      class={done ? 'toast is-shown' : 'toast'}
      onPointerEnter={() => setIsHeld(true)}
      onPointerLeave={() => setIsHeld(false)}
      onFocusIn={() => setIsHeld(true)}
      onFocusOut={() => setIsHeld(false)}
    >
      {done && (
        <>
          <span class="text">{done.text}</span>
          <button type="button" onClick={() => void act(done)}>
            {done.action}
          </button>
        </>
      )}
    </div>
  )
}
