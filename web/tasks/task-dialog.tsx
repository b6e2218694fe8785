import { type Category, type FieldErrors, maxLength, type Task } from '@tasktide/client'
import { useId, useRef } from 'preact/hooks'
import { DraftDialog } from '../drafts/draft-dialog.tsx'
import { useFormDraft } from '../drafts/form-draft.tsx'
import { DialogFoot } from '../forms/dialog.tsx'
import { TextArea, TextField } from '../forms/text-field.tsx'
import { instantOf, localOf } from '../time/moments.ts'
import { ReminderField } from './reminder-field.tsx'

interface TaskDialogProps {
  /** As it was when the dialog was opened, so that later changes of other devices are not overwritten. */
  task: EditedTask
  categories: readonly Category[]
  draftKey: string
  /** Errors of a rejected attempt. */
  errors?: FieldErrors
  /** Whether it was deleted while the dialog was open, or after the draft was written. */
  isDeleted?: boolean
  /** Saves the changed fields only. @returns whether they were stored */
  onSave: (changed: Partial<Task>) => Promise<boolean>
  onClose: () => void
}

export type EditedTask = Readonly<Pick<Task, 'id' | EditedField>>

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

export function TaskDialog(props: TaskDialogProps) {
  const { task, categories, draftKey, errors = {}, isDeleted = false, onSave, onClose } = props
  const id = useId()
  const form = useRef<HTMLFormElement>(null)
  const draft = useFormDraft<Task>({
    draftKey,
    name: task.title,
    base: Object.fromEntries(['id' as const, ...EDITED].map((name) => [name, task[name]])),
    onSave,
    onClose,
  })
  const shown: EditedTask = { ...pickEdited(task), ...draft.offered, id: task.id }

  function changed(): Partial<Task> {
    const edited = readForm(new FormData(form.current!), shown)
    const names = EDITED.filter((name) => edited[name] !== task[name])
    return Object.fromEntries(names.map((name) => [name, edited[name]]))
  }

  return (
    <DraftDialog title="Edit task" noun="task" {...{ isDeleted, draft, form, changed, onClose }}>
      <TextField
        label="Title"
        name="title"
        defaultValue={shown.title}
        limit={maxLength('tasks', 'title')}
        required
        autofocus
        autocomplete="off"
        errors={errors.title}
      />
      <TextArea
        label="Description"
        name="description"
        defaultValue={shown.description}
        limit={maxLength('tasks', 'description')}
        errors={errors.description}
      />
      <div class="pair">
        <TextField
          label="Due date"
          name="due_date"
          type="date"
          defaultValue={shown.due_date ?? ''}
          errors={errors.due_date}
        />
        <TextField
          label="Due time"
          name="due_time"
          type="time"
          defaultValue={shown.due_time ?? ''}
          errors={errors.due_time}
        />
      </div>
      <ReminderField remindAt={shown.remind_at} errors={errors.remind_at} />
      <div class="pair">
        <div class="field">
          <label htmlFor={`${id}-priority`}>Priority</label>
          <select id={`${id}-priority`} name="priority" defaultValue={shown.priority}>
            {(['high', 'medium', 'low'] as const).map((priority) => (
              <option key={priority} value={priority} selected={priority === shown.priority}>
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
                selected={category.id === shown.category_id}
              >
                {category.name}
              </option>
            ))}
          </select>
        </div>
      </div>
      <DialogFoot
        save={isDeleted ? 'Restore and save' : 'Save'}
        isBusy={draft.isBusy}
        onCancel={draft.cancel}
      />
    </DraftDialog>
  )
}

export const PRIORITY_NAMES = { high: 'High', medium: 'Medium', low: 'Low' } as const

const pickEdited = (task: EditedTask) =>
  Object.fromEntries(EDITED.map((name) => [name, task[name]])) as Pick<Task, EditedField>

function readForm(form: FormData, task: Pick<Task, 'remind_at'>): Pick<Task, EditedField> {
  const text = (name: string) => String(form.get(name) ?? '')
  const due_date = text('due_date') || null
  const local = text('remind_at')
  // An input has no seconds, and cannot express the repeated hour of a clock change.
  const isSame = task.remind_at !== null && local === localOf(new Date(task.remind_at))
  return {
    title: text('title'),
    // Forms send line ends as CR LF.
    description: text('description').replaceAll('\r\n', '\n'),
    due_date,
    // A time needs a date.
    due_time: (due_date && text('due_time').slice(0, 5)) || null,
    remind_at: isSame ? task.remind_at : local ? instantOf(local) : null,
    priority: text('priority') as Task['priority'],
    category_id: text('category_id') || null,
  }
}
