import { useState } from 'preact/hooks'
import { CategoryDialog } from './category-dialog.tsx'
import { useClient } from './client-context.ts'
import { Icon, type IconName } from './icon.tsx'
import type { View, ViewId } from './views.ts'

interface NavigationProps {
  views: readonly View[]
  /** Null for none of them. */
  current: ViewId | null
  /** How many tasks are to do in a view. */
  counts: ReadonlyMap<ViewId, number>
  onGo: (id: ViewId) => void
}

export function Navigation({ views, current, counts, onGo }: NavigationProps) {
  const client = useClient()
  const [isAdding, setIsAdding] = useState(false)
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
      <button type="button" class="view is-new" onClick={() => setIsAdding(true)}>
        <Icon name="plus" />
        <span class="name">New category</span>
      </button>
      {isAdding && (
        <CategoryDialog
          onCancel={() => setIsAdding(false)}
          onSave={async (given) => {
            setIsAdding(false)
            const { id } = await client.categories.insert(given as never)
            onGo(`category/${id}`)
          }}
        />
      )}
    </nav>
  )
}
