import type { View, ViewId } from '../tasks/views.ts'
import { Icon, type IconName } from './icon.tsx'

interface NavigationProps {
  views: readonly View[]
  /** Null if no view is open. */
  current: ViewId | null
  /** The number of open tasks in a view. */
  counts: ReadonlyMap<ViewId, number>
  onGo: (id: ViewId) => void
  onNewCategory: () => void
}

export function Navigation({ views, current, counts, onGo, onNewCategory }: NavigationProps) {
  return (
    <nav aria-label="Views">
      {views.map(({ id, name, category }) => (
        <button
          key={id}
          type="button"
          class={category ? 'view is-category' : 'view'}
          aria-current={id === current ? 'page' : undefined}
          onClick={() => onGo(id)}
          style={{ '--colour': category?.color ?? '' }}
        >
          {category ? <span class="dot" /> : <Icon name={id as IconName} />}
          <span class="name">{name}</span>
          <span class="count" aria-hidden="true">
            {counts.get(id) || ''}
          </span>
        </button>
      ))}
      <button type="button" class="view is-new" onClick={onNewCategory}>
        <Icon name="plus" />
        <span class="name">New category</span>
      </button>
    </nav>
  )
}
