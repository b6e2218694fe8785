import { maxLength } from '@tasktide/client'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { useDraft } from '../drafts/drafts.ts'
import { useTextLimit } from '../forms/text-limit.ts'
import { Icon } from '../frame/icon.tsx'

interface QuickAddProps {
  hint: string
  /** @returns whether it was stored */
  onAdd: (title: string) => Promise<boolean>
}

/** Adds tasks with Enter. The text stays, in every view, until the task is stored. */
export function QuickAdd({ hint, onAdd }: QuickAddProps) {
  const draft = useDraft('new-task')
  const [initial] = useState(() => String(draft.offered?.fields.title ?? ''))
  const queue = useRef<Promise<void>>(Promise.resolve())
  const title = useTextLimit<HTMLInputElement>(maxLength('tasks', 'title'), { initial })
  const { field } = title

  // Before the next key: what is typed while the view changes would go nowhere.
  useLayoutEffect(() => {
    const input = field.current!
    // On a phone the keyboard would cover the list.
    if (!matchMedia('(pointer: fine)').matches) return
    input.focus()
    input.setSelectionRange(input.value.length, input.value.length)
  }, [])

  function look(text: string) {
    title.look(text)
    if (text === '') draft.remove()
    else draft.keep({ name: 'New task', base: null, fields: { title: text } })
  }

  /** Text typed while a task is being stored belongs to the next task. */
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
        queue.current = queue.current.then(add)
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
