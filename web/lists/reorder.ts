import type { RefObject } from 'preact'
import { useLayoutEffect, useState } from 'preact/hooks'
import { rowHeight } from './rows.tsx'

export interface Drag {
  id: string
  /** The index of the drop position. */
  to: number
  /** The current position, in rows from the top. */
  at: number
  isDropped: boolean
}

/** Within this distance (in pixels) from an edge, the window scrolls. */
const EDGE_PX = 90
const SCROLL_PX = 14

/** Drags a row by its handle, with a mouse, a pen or a finger. Escape cancels. */
export function useReorder(
  list: RefObject<HTMLElement | null>,
  ids: readonly string[],
  /** @returns whether it was stored */
  onMove: (id: string, to: number) => Promise<boolean>,
) {
  const [drag, setDrag] = useState<Drag | null>(null)

  // A dropped row stays in place until the list updates.
  const order = ids.join()
  useLayoutEffect(() => setDrag((current) => (current?.isDropped ? null : current)), [order])

  /** @param range the first and the last allowed drop index */
  function pick(event: PointerEvent, id: string, range: readonly [number, number]) {
    if (event.button !== 0) return
    const handle = event.currentTarget as HTMLElement
    const height = rowHeight(list.current!)
    const topOf = () => list.current!.getBoundingClientRect().top
    const from = ids.indexOf(id)
    const grip = event.clientY - topOf() - from * height
    let y = event.clientY
    let to = from
    let frame = requestAnimationFrame(scrollAlong)
    const over = new AbortController()
    const { signal } = over
    handle.setPointerCapture(event.pointerId)
    handle.addEventListener('pointermove', (move) => follow(move.clientY), { signal })
    handle.addEventListener('pointerup', () => end(true), { signal })
    handle.addEventListener('pointercancel', () => end(false), { signal })
    addEventListener('keydown', (key) => key.key === 'Escape' && end(false), { signal })

    function follow(clientY: number) {
      y = clientY
      const at = Math.min(range[1], Math.max(range[0], (y - topOf() - grip) / height))
      to = Math.round(at)
      setDrag({ id, to, at, isDropped: false })
    }

    function scrollAlong() {
      const direction = y < EDGE_PX ? -1 : y > innerHeight - EDGE_PX ? 1 : 0
      if (direction !== 0 && y !== event.clientY) {
        scrollBy(0, direction * SCROLL_PX)
        follow(y)
      }
      frame = requestAnimationFrame(scrollAlong)
    }

    function end(isDrop: boolean) {
      over.abort()
      cancelAnimationFrame(frame)
      const isMoved = isDrop && to !== from
      setDrag(isMoved ? { id, to, at: to, isDropped: true } : null)
      if (isMoved) void drop()
    }

    /** Moves back if the change was not stored. */
    async function drop() {
      if (!(await onMove(id, to))) setDrag(null)
    }
  }

  return { drag, pick }
}

/** The position of a row while another one is dragged. */
export function placeDuring(drag: Drag | null, from: number, index: number): number {
  if (!drag || from < 0) return index
  if (index === from) return drag.at
  if (from < index && index <= drag.to) return index - 1
  if (drag.to <= index && index < from) return index + 1
  return index
}
