import { useEffect, useRef } from 'preact/hooks'
import { Icon } from './icon.tsx'

interface QuickAddProps {
  hint: string
  onAdd: (title: string) => void
}

/** One line, Enter, and the next. */
export function QuickAdd({ hint, onAdd }: QuickAddProps) {
  const input = useRef<HTMLInputElement>(null)

  useEffect(() => {
    // On a phone the keyboard would cover what one came to see.
    if (matchMedia('(pointer: fine)').matches) input.current!.focus()
  }, [])

  function submit(event: SubmitEvent) {
    event.preventDefault()
    const title = input.current!.value.trim()
    input.current!.focus()
    if (title === '') return
    input.current!.value = ''
    onAdd(title)
  }

  return (
    <form class="quick-add" onSubmit={submit}>
      <Icon name="plus" />
      <input
        ref={input}
        id="new-task"
        aria-label="New task"
        aria-keyshortcuts="n"
        placeholder={hint}
        autocomplete="off"
        enterkeyhint="done"
      />
      <button type="submit" class="primary">
        Add
      </button>
    </form>
  )
}
