import type { ComponentChildren, RefObject } from 'preact'
import { useEffect, useLayoutEffect, useState } from 'preact/hooks'
import { useRowFocus } from './row-focus.ts'

interface RowsProps<T extends { id: string }> {
  label: string
  list: RefObject<HTMLUListElement | null>
  items: readonly T[]
  /** The id of an item that is always rendered. */
  held?: string | undefined
  row: (item: T, index: number) => ComponentChildren
}

/** Extra rows rendered above and below the visible ones. */
const BEYOND = 12

/**
 * A virtual list: only visible rows are in the document. All rows have the same height, so the position
 * follows from the index.
 */
export function Rows<T extends { id: string }>({ label, list, items, held, row }: RowsProps<T>) {
  const [from, to] = useRange(list, items.length)
  const focused = useRowFocus(list)
  const shown = items.map((_, index) => index).slice(from, to)
  const kept = items.findIndex(({ id }) => id === (held ?? focused))
  if (kept >= 0 && kept < from) shown.unshift(kept)
  if (kept >= to) shown.push(kept)
  return (
    <ul ref={list} class="rows" aria-label={label} style={{ '--count': items.length }}>
      {shown.map((index) => row(items[index]!, index))}
    </ul>
  )
}

/** ARIA attributes for the position of a row, including rows that are not rendered. */
export const placeOf = (index: number, count: number) => ({
  'aria-posinset': index + 1,
  'aria-setsize': count,
})

export function rowHeight(list: HTMLElement): number {
  return Number.parseFloat(getComputedStyle(list, '::before').height)
}

/** Scrolls to a row. */
export function reveal(list: HTMLElement, index: number): void {
  const height = rowHeight(list)
  const top = list.getBoundingClientRect().top + index * height
  const isInSight = top > height * 3 && top + height < innerHeight
  if (!isInSight) scrollBy({ top: top - innerHeight / 2 })
}

function useRange(list: RefObject<HTMLElement | null>, count: number): [number, number] {
  const [first, setFirst] = useState(0)
  const [length, setLength] = useState(40)
  const look = () => {
    const element = list.current
    if (!element) return
    const height = rowHeight(element)
    const start = Math.floor(-element.getBoundingClientRect().top / height) - BEYOND
    // In steps, to avoid a new rendering for each row.
    setFirst(Math.max(0, Math.floor(start / 6) * 6))
    setLength(Math.ceil(innerHeight / height) + 2 * BEYOND + 6)
  }
  // Elements above may have moved the list.
  useLayoutEffect(look)
  useEffect(() => {
    addEventListener('scroll', look, { passive: true })
    addEventListener('resize', look)
    return () => {
      removeEventListener('scroll', look)
      removeEventListener('resize', look)
    }
  }, [])
  const from = Math.min(first, Math.max(0, count - length))
  return [from, Math.min(count, from + length)]
}
