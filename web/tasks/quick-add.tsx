import { maxLength } from '@tasktide/client'
import { useEffect, useRef, useState } from 'preact/hooks'
import { useDraft } from '../drafts/drafts.ts'
import { useTextLimit } from '../forms/text-limit.ts'
import { Icon } from '../frame/icon.tsx'

interface QuickAddProps {
  hint: string
  /** @returns whether it is kept */
  onAdd: (title: string) => Promise<boolean>
}

/** One line, Enter, and the next. What is typed stays, in whatever view, until it is kept. */
export function QuickAdd({ hint, onAdd }: QuickAddProps) {
  const draft = useDraft('new-task')
  const [initial] = useState(() => String(draft.offered?.fields.title ?? ''))
  const turn = useRef<Promise<void>>(Promise.resolve())
  const title = useTextLimit<HTMLInputElement>(maxLength('tasks', 'title'), { initial })
  const { field } = title

  useEffect(() => {
    // On a phone the keyboard would cover what one came to see.
    if (matchMedia('(pointer: fine)').matches) field.current!.focus()
  }, [])

  function look(text: string) {
    title.look(text)
    if (text === '') draft.remove()
    else draft.keep({ name: 'New task', base: null, fields: { title: text } })
  }

  /** What is typed while a task is being kept belongs to the next one. */
  async function add() {
    const text = field.current?.value ?? ''
    if (text.trim() === '' || !(await onAdd(text.trim()))) return
    const now = field.current?.value
    const rest = now?.startsWith(text) ? now.slice(text.length) : (now ?? '')
    if (field.current) field.current.value = rest
    look(rest)
  }

  return (
    <form
      class="quick-add"
      onSubmit={(event) => {
        event.preventDefault()
        field.current!.focus()
        turn.current = turn.current.then(add)
      }}
    >
      <Icon name="plus" />
      <input
        ref={field}
        id="new-task"
        aria-label="New task"
        aria-keyshortcuts="n"
        aria-invalid={title.fault ? true : undefined}
        aria-describedby={title.fault || title.hint ? 'new-task-note' : undefined}
        placeholder={hint}
        autocomplete="off"
        enterkeyhint="done"
        defaultValue={initial}
        onInput={(event) => look(event.currentTarget.value)}
      />
      <button type="submit" class="primary">
        Add
      </button>
      {(title.fault || title.hint) && (
        <p id="new-task-note" class={title.fault ? 'fault' : 'hint'}>
          {title.fault || title.hint}
        </p>
      )}
    </form>
  )
}
