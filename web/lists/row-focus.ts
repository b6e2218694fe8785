import type { RefObject } from 'preact'
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'

interface Place {
  id: string
  /** The focused control of the row. */
  control: string
  /** The index among the rendered rows. */
  at: number
}

/**
 * Keeps the focus in a list whose rows move or are removed: it stays with its row, and moves to the next
 * row when that is removed. The arrow keys move it to the same control of the row above or below.
 *
 * @returns the focused row
 */
export function useRowFocus(list: RefObject<HTMLElement | null>): string | undefined {
  const place = useRef<Place | null>(null)

  useEffect(() => {
    const look = (event: Event) => {
      place.current = placeOf(event.target as HTMLElement, list.current!)
    }
    const go = (event: KeyboardEvent) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key]
      if (!by || !place.current || event.defaultPrevented) return
      const { at, control } = place.current
      if (list.current!.contains(event.target as Node) && focusOn(at + by, control))
        event.preventDefault()
    }
    document.addEventListener('focusin', look)
    document.addEventListener('pointerdown', look)
    document.addEventListener('keydown', go)
    return () => {
      document.removeEventListener('focusin', look)
      document.removeEventListener('pointerdown', look)
      document.removeEventListener('keydown', go)
    }
  }, [])

  // Moving an element in the document loses the focus, like removing it.
  useLayoutEffect(() => {
    if (!place.current || document.activeElement !== document.body) return
    const { id, control, at } = place.current
    const rows = [...list.current!.children] as HTMLElement[]
    const same = rows.findIndex((row) => row.dataset.id === id)
    focusOn(same >= 0 ? same : Math.min(at, rows.length - 1), control)
  })

  function focusOn(at: number, control: string): boolean {
    const row = list.current!.children[at]
    const element = row?.querySelector<HTMLElement>(`[data-control="${control}"]`)
    element?.focus()
    return element !== undefined
  }

  return place.current?.id
}

function placeOf(target: HTMLElement, list: HTMLElement): Place | null {
  const row = target.closest('li')
  const { control } = target.dataset
  if (!row || !control || row.parentElement !== list) return null
  return { id: row.dataset.id!, control, at: [...list.children].indexOf(row) }
}
