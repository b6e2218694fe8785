import { useId } from 'preact/hooks'
import type { Category, FieldErrors, Task } from '../../client-sdk/index.ts'
import { Dialog, DialogFoot } from './dialog.tsx'
import { instantOf, localOf } from './moments.ts'
import { ReminderField } from './reminder-field.tsx'
import { TextField } from './text-field.tsx'

interface TaskDialogProps {
  task: Pick<Task, EditedField>
  categories: readonly Category[]
  /** What the server said of an earlier attempt. */
  errors?: FieldErrors
  /** Takes what was changed, and nothing else. */
  onSave: (changed: Partial<Task>) => void
  onCancel: () => void
}

type EditedField = (typeof EDITED)[number]

const EDITED = [
  'title',
  'description',
  'due_date',
  'due_time',
  'remind_at',
  'priority',
  'category_id',
] as const satisfies (keyof Task)[]

export function TaskDialog({ task, categories, errors = {}, onSave, onCancel }: TaskDialogProps) {
  const id = useId()

  function submit(event: SubmitEvent) {
    event.preventDefault()
    const edited = readForm(new FormData(event.currentTarget as HTMLFormElement), task)
    if (edited.title.trim() === '') return
    const changed = EDITED.filter((name) => edited[name] !== task[name])
    onSave(Object.fromEntries(changed.map((name) => [name, edited[name]])))
  }

  return (
    <Dialog title="Edit task" onCancel={onCancel}>
      <form onSubmit={submit}>
        <TextField
          label="Title"
          name="title"
          defaultValue={task.title}
          required
          autofocus
          autocomplete="off"
          errors={errors.title}
        />
        <div class="field">
          <label htmlFor={`${id}-description`}>Description</label>
          <textarea
            id={`${id}-description`}
            name="description"
            rows={4}
            defaultValue={task.description}
            aria-describedby={errors.description && `${id}-fault`}
          />
          {errors.description && (
            <p id={`${id}-fault`} class="fault">
              {errors.description.join(' ')}
            </p>
          )}
        </div>
        <div class="pair">
          <TextField
            label="Due date"
            name="due_date"
            type="date"
            defaultValue={task.due_date ?? ''}
            errors={errors.due_date}
          />
          <TextField
            label="Due time"
            name="due_time"
            type="time"
            defaultValue={task.due_time ?? ''}
            errors={errors.due_time}
          />
        </div>
        <ReminderField remindAt={task.remind_at} errors={errors.remind_at} />
        <div class="pair">
          <div class="field">
            <label htmlFor={`${id}-priority`}>Priority</label>
            <select id={`${id}-priority`} name="priority" defaultValue={task.priority}>
              {(['high', 'medium', 'low'] as const).map((priority) => (
                <option key={priority} value={priority} selected={priority === task.priority}>
                  {PRIORITY_NAMES[priority]}
                </option>
              ))}
            </select>
          </div>
          <div class="field">
            <label htmlFor={`${id}-category`}>Category</label>
            <select id={`${id}-category`} name="category_id">
              <option value="">None</option>
              {categories.map((category) => (
                <option
                  key={category.id}
                  value={category.id}
                  selected={category.id === task.category_id}
                >
                  {category.name}
                </option>
              ))}
            </select>
          </div>
        </div>
        <DialogFoot onCancel={onCancel} />
      </form>
    </Dialog>
  )
}

export const PRIORITY_NAMES = { high: 'High', medium: 'Medium', low: 'Low' } as const

function readForm(form: FormData, task: Pick<Task, 'remind_at'>): Pick<Task, EditedField> {
  const text = (name: string) => String(form.get(name) ?? '')
  const due_date = text('due_date') || null
  const local = text('remind_at')
  // An input knows no seconds, and an hour that comes twice in autumn but once.
  const isSame = task.remind_at !== null && local === localOf(new Date(task.remind_at))
  return {
    title: text('title'),
    // Forms send line ends as CR LF.
    description: text('description').replaceAll('\r\n', '\n'),
    due_date,
    // A time is one of a day.
    due_time: (due_date && text('due_time').slice(0, 5)) || null,
    remind_at: isSame ? task.remind_at : local ? instantOf(local) : null,
    priority: text('priority') as Task['priority'],
    category_id: text('category_id') || null,
  }
}
